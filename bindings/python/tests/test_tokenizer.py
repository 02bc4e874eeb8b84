"""A model's own tokens, by a library that the rest of the package does without. Ids are compared in Tests/tokenizer."""

import base64
import json
import os
import shutil
import subprocess
import sys
from array import array
from concurrent.futures import ThreadPoolExecutor
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p
from pathlib import Path
from typing import Any

import pytest
from conftest import PACKAGE_ROOT, TOKENIZER_HEADER, needs_tokenizer
from header import Header

import gotoni

C_TYPES: dict[str, Any] = {
    "void": None,
    "const char *": c_char_p,
    "const char **": POINTER(c_char_p),
    "const uint8_t *": c_char_p,  # a file, as Python read it
    "gotoni_tokenizer *": c_void_p,
    "gotoni_tokenizer **": POINTER(c_void_p),
    "gotoni_tokenizer_status": c_int32,
    "int32_t": c_int32,
    "uint32_t": c_uint32,
    "uint32_t *": c_void_p,  # memory lent to C is passed by address
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "size_t *": POINTER(c_size_t),
}

TOKENS = ["he", "ll", "hell", "o", "Ġ", "Ġw", "or", "ld"]
MERGES = [("h", "e"), ("l", "l"), ("he", "ll"), ("Ġ", "w"), ("o", "r"), ("l", "d")]
SPECIAL = "<|end|>"


def spelling() -> list[str]:
    """GPT-2's character for each byte."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(0x100, 0x200))
    return [chr(byte if byte in plain else next(others)) for byte in range(256)]


def description() -> dict[str, Any]:
    """A tokenizer.json: the ids 0 to 255 are the bytes, then come TOKENS, then SPECIAL, also the end of a prompt."""
    tokens = list(dict.fromkeys([*spelling(), *TOKENS]))
    vocabulary = {token: id for id, token in enumerate(tokens)}
    end = len(tokens)
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0",
        "added_tokens": [
            {
                "id": end,
                "content": SPECIAL,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
        ],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [{"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": SPECIAL, "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {SPECIAL: {"id": SPECIAL, "ids": [end], "tokens": [SPECIAL]}},
        },
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": vocabulary, "merges": MERGES},
    }


VOCABULARY: dict[str, int] = description()["model"]["vocab"]
END = len(VOCABULARY)


def ids(*tokens: str) -> "array[int]":
    return array("I", [VOCABULARY[token] for token in tokens])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(description()), encoding="utf-8")
    return path


# ===== The contract


@needs_tokenizer
def test_constants_and_prototypes_equal_the_header() -> None:
    from gotoni import _tokenizer_abi as abi

    contract = Header(TOKENIZER_HEADER)
    mirrored = {name: value for name, value in vars(abi).items() if name.startswith("GOTONI_")}
    assert mirrored == contract.constants()
    functions = {name: value for name, value in vars(abi).items() if name.startswith("gotoni_")}
    assert list(functions) == list(contract.prototypes())
    for name, (result, arguments) in contract.prototypes().items():
        assert functions[name].restype is C_TYPES[result], name
        assert list(functions[name].argtypes) == [C_TYPES[argument] for argument in arguments], name


# ===== Tokens


@needs_tokenizer
def test_text_becomes_ids(file: Path) -> None:
    with gotoni.Tokenizer(file) as tokenizer:
        hello = tokenizer.encode("hello world")
        assert hello == ids("hell", "o", "Ġw", "or", "ld")
        assert (type(hello), hello.typecode, hello.itemsize) == (array, "I", 4)
        assert tokenizer.encode(b"hello world") == hello
        assert tokenizer.encode("") == tokenizer.encode(b"") == array("I")
        assert tokenizer.count("hello world") == 5
        assert tokenizer.count("") == 0


@needs_tokenizer
def test_special_tokens_are_found_and_added(file: Path) -> None:
    tokenizer = gotoni.Tokenizer(file)
    assert tokenizer.encode(f"he{SPECIAL}he") == ids("he") + array("I", [END]) + ids("he")
    assert tokenizer.encode("he", add_special_tokens=True) == ids("he") + array("I", [END])
    assert tokenizer.count("he", add_special_tokens=True) == 2


@needs_tokenizer
def test_ids_of_tokens(file: Path) -> None:
    tokenizer = gotoni.Tokenizer(file)
    assert tokenizer.id("hell") == VOCABULARY["hell"]
    assert tokenizer.id(" w") == VOCABULARY["Ġw"]
    assert tokenizer.id(b"\xff") == VOCABULARY[spelling()[255]]
    assert tokenizer.id(SPECIAL) == END
    assert tokenizer.id("hello") is None


@needs_tokenizer
def test_more_ids_than_were_expected(file: Path) -> None:
    """A byte may be an id of its own: the array grows."""
    tokenizer = gotoni.Tokenizer(file)
    text = "漢字" * 5000
    assert tokenizer.encode(text) == array("I", [VOCABULARY[spelling()[byte]] for byte in text.encode()])
    assert tokenizer.count(text) == len(text.encode())


@needs_tokenizer
def test_a_router_takes_the_ids_as_they_are(file: Path, router: gotoni.Router) -> None:
    tokenizer = gotoni.Tokenizer(file)
    with router.route(tokenizer.encode("hello world" * 9)) as ticket:
        assert ticket.prompt_tokens == tokenizer.count("hello world" * 9)


# ===== Files


@needs_tokenizer
def test_a_folder_is_read_with_its_configuration(file: Path) -> None:
    config = {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": True, "bos_token": SPECIAL}
    (file.parent / "tokenizer_config.json").write_text(json.dumps(config))
    assert gotoni.Tokenizer(file.parent).encode("he", add_special_tokens=True) == array("I", [END]) + ids("he")
    assert gotoni.Tokenizer(file).encode("he", add_special_tokens=True) == ids("he") + array("I", [END])


@needs_tokenizer
@pytest.mark.parametrize("is_folder", [False, True])
def test_a_tekken_file(tmp_path: Path, is_folder: bool) -> None:
    tokens = [*(bytes([byte]) for byte in range(256)), b"he", b"ll", b"hell"]
    rows = [{"rank": rank, "token_bytes": base64.b64encode(token).decode()} for rank, token in enumerate(tokens)]
    sizes = {"default_vocab_size": len(tokens) + 10, "default_num_special_tokens": 10}
    config = {"pattern": r"\p{L}+|[^\p{L}]", **sizes}
    (tmp_path / "tekken.json").write_text(json.dumps({"config": config, "vocab": rows}))
    tokenizer = gotoni.Tokenizer(tmp_path if is_folder else str(tmp_path / "tekken.json"))
    assert tokenizer.encode("hello").tolist() == [258 + 10, ord("o") + 10]


@needs_tokenizer
def test_a_file_of_qwen(tmp_path: Path) -> None:
    tokens = [*(bytes([byte]) for byte in range(256)), b"he", b"ll", b"hell"]
    lines = [f"{base64.b64encode(token).decode()} {rank}\n" for rank, token in enumerate(tokens)]
    (tmp_path / "qwen.tiktoken").write_text("".join(lines))
    tokenizer = gotoni.Tokenizer(tmp_path / "qwen.tiktoken")
    assert tokenizer.encode("hello<|im_start|>").tolist() == [258, ord("o"), 260]


@needs_tokenizer
def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="tokenizer.json"):
        gotoni.Tokenizer(tmp_path)
    with pytest.raises(FileNotFoundError, match="nothing.json"):
        gotoni.Tokenizer(tmp_path / "nothing.json")


# ===== Errors


@needs_tokenizer
def test_a_file_that_cannot_be_read_says_why(file: Path) -> None:
    from gotoni import _tokenizer_abi as abi

    made = description()
    for change, code, text in (
        ({"model": {**made["model"], "type": "Unigram"}}, abi.GOTONI_TOKENIZER_E_UNSUPPORTED, "the model is not BPE"),
        ({"model": None}, abi.GOTONI_TOKENIZER_E_FORMAT, "tokenizer.json has no model"),
    ):
        file.write_text(json.dumps({**made, **change}))
        with pytest.raises(gotoni.TokenizerError) as caught:
            gotoni.Tokenizer(file)
        assert (caught.value.code, caught.value.text, str(caught.value)) == (code, text, text)
        assert isinstance(caught.value, gotoni.GotoniError)


@needs_tokenizer
@pytest.mark.parametrize("text", [b"\xff", "\ud800", b"abc\xe6\xbc"])
def test_what_is_not_utf8_is_an_error(file: Path, text: Any) -> None:
    tokenizer = gotoni.Tokenizer(file)
    for call in (tokenizer.encode, tokenizer.count):
        with pytest.raises(gotoni.TokenizerError, match="the text is not valid UTF-8"):
            call(text)


@needs_tokenizer
def test_a_closed_tokenizer_is_an_error(file: Path) -> None:
    with gotoni.Tokenizer(file) as tokenizer:
        assert not tokenizer.closed
    tokenizer.close()
    assert tokenizer.closed
    for call in (tokenizer.encode, tokenizer.count, tokenizer.id):
        with pytest.raises(gotoni.TokenizerError, match="The tokenizer is closed."):
            call("a")


@needs_tokenizer
def test_a_budget_out_of_bounds_is_an_error(file: Path) -> None:
    with pytest.raises(gotoni.RangeError, match="cache_bytes is -1"):
        gotoni.Tokenizer(file, cache_bytes=-1)


# ===== Threads


@needs_tokenizer
def test_threads_share_a_tokenizer_and_one_closes_it(file: Path) -> None:
    texts = [f"hello world {number} " * 40 for number in range(20)]
    right = [gotoni.Tokenizer(file).encode(text) for text in texts]
    for _ in range(5):
        tokenizer = gotoni.Tokenizer(file)

        def work(number: int, tokenizer: gotoni.Tokenizer = tokenizer) -> str:
            try:
                for turn in range(100_000):
                    index = (number + turn) % len(texts)
                    assert tokenizer.encode(texts[index]) == right[index]
                    if number == 3 and turn == 200:
                        tokenizer.close()
            except gotoni.TokenizerError as error:
                return str(error)
            return "never closed"

        with ThreadPoolExecutor(4) as pool:
            assert set(pool.map(work, range(4))) == {"The tokenizer is closed."}


# ===== Finding the library


def python(code: str, package: Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Runs `code` in a fresh interpreter that finds the package in `package`."""
    variables = {**os.environ, "PYTHONPATH": str(package), **environment}
    return subprocess.run([sys.executable, "-c", code], env=variables, cwd=package, capture_output=True, text=True)


@pytest.fixture
def package(tmp_path: Path) -> Path:
    shutil.copytree(PACKAGE_ROOT / "gotoni", tmp_path / "gotoni", ignore=shutil.ignore_patterns("__pycache__", "*.so*"))
    return tmp_path


def test_a_router_needs_no_tokenizer(package: Path) -> None:
    code = "import gotoni; gotoni.Router().add_server(1); print(gotoni.Tokenizer.__name__)"
    result = python(code, package, GOTONI_TOKENIZER_LIBRARY="/nowhere/libgotoni-tokenizer.so.0")
    assert result.stdout == "Tokenizer\n", result.stderr


def test_a_named_library_that_does_not_load_is_an_error_naming_it(package: Path) -> None:
    code = "import gotoni; gotoni.Tokenizer('x')"
    result = python(code, package, GOTONI_TOKENIZER_LIBRARY="/nowhere/libgotoni-tokenizer.so.0")
    assert "ImportError: GOTONI_TOKENIZER_LIBRARY names '/nowhere/libgotoni-tokenizer.so.0', which" in result.stderr


def test_a_damaged_packaged_library_is_an_error(package: Path) -> None:
    (package / "gotoni" / "libgotoni-tokenizer.so.0").write_bytes(b"not a library")
    result = python("import gotoni; gotoni.Tokenizer('x')", package, GOTONI_TOKENIZER_LIBRARY="")
    assert "ImportError: The libgotoni-tokenizer.so.0 inside this package cannot be loaded" in result.stderr


def test_a_library_found_nowhere_says_what_to_do(package: Path) -> None:
    code = (
        "import ctypes, gotoni\n"
        "def refuse(path): raise OSError('not found: ' + path)\n"
        "ctypes.CDLL = refuse\n"  # the machine that runs this test may have it installed
        "for _ in range(2):\n"
        "    try: gotoni.Tokenizer('x')\n"
        "    except ImportError as error: print(error)"
    )
    result = python(code, package, GOTONI_TOKENIZER_LIBRARY="")
    sentence = (
        "gotoni.Tokenizer needs libgotoni-tokenizer.so.0, which is not installed: install it, or set "
        "GOTONI_TOKENIZER_LIBRARY to its path (not found: libgotoni-tokenizer.so.0).\n"
    )
    assert result.stdout == sentence * 2, result.stderr


def test_a_library_without_our_functions_is_refused(package: Path) -> None:
    (package / "other.c").write_text("int something_else;")
    library = package / "other.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, package / "other.c"], check=True)
    result = python("import gotoni; gotoni.Tokenizer('x')", package, GOTONI_TOKENIZER_LIBRARY=str(library))
    assert "ImportError: The loaded libgotoni-tokenizer.so.0 has no function gotoni_tokenizer" in result.stderr
