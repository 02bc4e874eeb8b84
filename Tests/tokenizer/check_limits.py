"""What is wrong is answered by a status, in bounded time: never a crash, never other ids."""

from __future__ import annotations

import json
import time
from array import array
from ctypes import byref, c_char_p, c_size_t, c_void_p
from typing import Any

from tokenizers import Tokenizer

import check_made
import grammar
from context import Comparison, by, chance, native, real, reference
from native import STATUS, Native, Refused, abi

NOT_UTF8 = (
    b"\x80", b"\xbf", b"\xc0\x80", b"\xc1\xbf", b"\xc3", b"\xe2\x82", b"\xe0\x80\x80", b"\xe0\x9f\xbf", b"\xed\xa0\x80",
    b"\xed\xbf\xbf", b"\xf0\x80\x80\x80", b"\xf0\x8f\xbf\xbf", b"\xf4\x90\x80\x80", b"\xf5\x80\x80\x80", b"\xff", b"\xfe",
    b"\xf0\x9f\x98", b"\xf8\x88\x80\x80\x80",
)  # fmt: skip
LONG = 10_000_000


def _rows() -> list[Any]:
    return [row for row in real() if row.name in ("deepseek", "anthropic", "qwen.tiktoken", "tekken-240911", "gpt2")]


def bytes_that_are_not_utf8_are_refused() -> None:
    for row in _rows():
        tokenizer = native(row.native)
        for bad in NOT_UTF8:
            for text in (bad, b"a" + bad, bad + b"a", b"a" * 100 + bad + b"b" * 100, "漢".encode() * 50 + bad):
                for flags in (0, 1):
                    ids = array("I", (7,)) * 1000
                    status, count = tokenizer.call(text, flags, ids.buffer_info()[0], len(ids))
                    assert (STATUS.get(status), count) == ("E_UTF8", 0), (row.name, text, status, count)
                    assert set(ids) == {7}


def arguments_without_meaning_are_refused() -> None:
    tokenizer = native(_rows()[0].native)
    ids = array("I", (7,)) * 64
    place, count = ids.buffer_info()[0], c_size_t(5)
    refused = [
        abi.gotoni_tokenizer_encode(None, b"a", 1, 0, place, 64, byref(count)),
        abi.gotoni_tokenizer_encode(tokenizer.handle, None, 1, 0, place, 64, byref(count)),
        abi.gotoni_tokenizer_encode(tokenizer.handle, b"a", 1, 0, place, 64, None),
        abi.gotoni_tokenizer_encode(tokenizer.handle, b"a", 1, 0, None, 64, byref(count)),
        abi.gotoni_tokenizer_encode(tokenizer.handle, b"a", 1, 0, place + 1, 63, byref(count)),
        *(
            abi.gotoni_tokenizer_encode(tokenizer.handle, b"a", 1, flags, place, 64, byref(count))
            for flags in (2, 3, 1 << 31)
        ),
    ]
    file, out, why = b"{}", c_void_p(), c_char_p()
    create = abi.gotoni_tokenizer_create
    refused += [
        create(None, 5, 0, None, 0, 0, byref(out), byref(why)),
        create(None, 0, 0, None, 0, 0, byref(out), byref(why)),
        create(file, 2, 0, None, 0, 0, None, byref(why)),
        create(file, 2, 0, None, 7, 0, byref(out), byref(why)),
        *(create(file, 2, format, None, 0, 0, byref(out), byref(why)) for format in (-1, 3, 99, 2**31 - 1)),
    ]
    assert {STATUS.get(status) for status in refused} == {"E_ARGUMENT"}, refused
    assert not out.value and set(ids) == {7}
    assert STATUS[create(file, 2, 0, None, 0, 0, byref(out), None)] == "E_FORMAT", "why is optional"
    abi.gotoni_tokenizer_destroy(None)
    assert abi.gotoni_tokenizer_id(None, b"a", 1) == 0xFFFF_FFFF
    assert abi.gotoni_tokenizer_id(tokenizer.handle, None, 1) == 0xFFFF_FFFF
    assert abi.gotoni_tokenizer_id(tokenizer.handle, None, 0) == 0xFFFF_FFFF
    status, count = tokenizer.call(None, 0, place, 64)
    assert (status, count) == (0, 0), "a text of no bytes may be NULL"
    huge = c_size_t(-1).value
    status, _ = tokenizer.call(b"a", 0, place, 64, size=huge)
    assert STATUS.get(status) == "E_TOO_LONG"


def every_status_has_a_sentence() -> None:
    sentences = {abi.gotoni_tokenizer_status_text(status) for status in (0, *STATUS)}
    assert len(sentences) == len(STATUS) + 1 and all(sentences)
    for status in (1, -9, 2**31 - 1, -(2**31)):
        assert abi.gotoni_tokenizer_status_text(status)


def an_array_too_small_is_left_alone_and_its_size_is_said() -> None:
    for row in _rows():
        tokenizer = native(row.native)
        for text in ("Hello, world! 漢字", "a" * 500, "x" * 5000 + " " + "y" * 300):
            for special in (0, 1):
                right = tokenizer.encode(text, bool(special)).tolist()
                data = text.encode()
                assert tokenizer.call(data, special, None, 0) == (0, len(right)), "the count alone"
                for capacity in {0, 1, len(right) // 2, len(right) - 1, len(right), len(right) + 1}:
                    ids = array("I", (7,)) * (len(right) + 8)
                    status, count = tokenizer.call(data, special, ids.buffer_info()[0], capacity)
                    fits = capacity >= len(right)
                    assert (STATUS.get(status), count) == (None if fits else "E_BUFFER", len(right)), (
                        row.name,
                        capacity,
                    )
                    assert ids[: len(right)].tolist() == (right if fits else [7] * len(right))
                    assert set(ids[len(right) :]) == {7}


def words_of_any_length_end_in_bounded_time() -> None:
    """10 MB without a place to cut are refused or right; a word of the longest kind takes less than a second."""
    random = chance("long words")
    letters = "".join(random.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(LONG))
    kinds = {"one letter": "a" * LONG, "letters": letters, "spaces": " " * LONG, "newlines": "\n" * LONG, "漢": "漢" * (LONG // 3),
             "marks": "\u0301" * (LONG // 2), "punctuation": "-" * LONG, "digits": "7" * LONG, "apostrophes": "'" * LONG}  # fmt: skip
    slowest: dict[str, tuple[float, str]] = {}
    for row in _rows():
        tokenizer = native(row.native)
        for name, text in kinds.items():
            began = time.thread_time()
            ours = by(tokenizer)(text)
            took = time.thread_time() - began
            slowest[name] = max(
                slowest.get(name, (0, "")), (took, f"{row.name} {ours if isinstance(ours, str) else 'ids'}")
            )
            assert not isinstance(ours, str) or ours in ("E_TOO_LONG", "E_PATTERN"), (row.name, name, ours)
            assert took < 10, (row.name, name, took)
    for name, (took, what) in slowest.items():
        print(f"          10 MB of {name}: at most {took:.2f} s ({what})")


def long_words_have_the_right_ids() -> None:
    random = chance("long right words")
    with Comparison() as comparison:
        for row in _rows():
            theirs = by(reference(row.reference))
            for size in (29, 128, 129, 1000, 20_000, (1 << 16) + 1):
                for letters in ("a", "ab", "abcdefghijklmnopqrstuvwxyz", "漢字", "\u0301\u0323", " ", "-=", "ÀÉab"):
                    text = "".join(random.choice(letters) for _ in range(size))
                    comparison.add(f"{row.name}, {size}", text, by(native(row.native)), theirs)


def a_text_of_many_special_tokens_is_read_in_bounded_time() -> None:
    for row in _rows():
        tokens = sorted({token.content for token in reference(row.reference).get_added_tokens_decoder().values()})
        for text in ("<" * 3_000_000, "<|" * 1_000_000, *(token * 50_000 for token in tokens[:3]), "<｜" * 500_000):
            began = time.thread_time()
            by(native(row.native))(text)
            took = time.thread_time() - began
            assert took < 5, (row.name, text[:20], took)


# MARK: Hostile files


def _is_right_or_refused(data: bytes, format: int, theirs: Any, comparison: Comparison, name: str) -> str:
    """The status, after ids were compared where `theirs` can be made."""
    try:
        ours = Native(data, format)
    except Refused as error:
        assert error.status in ("E_FORMAT", "E_UNSUPPORTED", "E_MEMORY"), (name, str(error))
        return error.status
    try:
        reference = Tokenizer.from_str(data.decode()) if theirs else None
    except BaseException:  # what `tokenizers` does not read is anybody's guess: encoding must be safe
        reference = None
    random = chance(name)
    for text in ["", "Hello, world", "<a> <b>", *(grammar.text(random, most=10) for _ in range(8))]:
        if reference:
            comparison.add(name, text, by(ours), by(reference))
            comparison.add(f"{name}, special", text, by(ours, True), by(reference, True))
        else:
            by(ours)(text)
            by(ours, True)(text)
    return "read"


def files_cut_anywhere_are_refused() -> None:
    files = {row.name: row for row in real()}
    cuts = {"anthropic": 997, "deepseek": 99_991, "qwen.tiktoken": 9_973, "tekken-240718": 499_979}
    for name, step in cuts.items():
        data, found = files[name].native.read_bytes(), {}
        format = 2 if name.endswith("tiktoken") else 1 if name.startswith("tekken") else 0
        for end in range(0, len(data), step):
            with Comparison() as comparison:
                status = _is_right_or_refused(data[:end], format, False, comparison, f"{name} cut at {end}")
            found[status] = found.get(status, 0) + 1
        if format != 2:
            assert set(found) <= {"E_FORMAT"}, (name, found)
        print(f"          {name}: {found}")


def files_with_one_byte_changed() -> None:
    """Of a small file: ids are those of `tokenizers` if it reads the file, or it is refused."""
    data = json.dumps(check_made._base(), ensure_ascii=False).encode()
    random, found = chance("bytes"), {}
    with Comparison() as comparison:
        for number in range(1500):
            changed = bytearray(data)
            for _ in range(random.choice((1, 1, 1, 3, 10))):
                changed[random.randrange(len(changed))] = random.choice((random.randrange(256), *b'"{}[],:0\\'))
            try:
                changed.decode()
            except UnicodeDecodeError:
                readable = False
            else:
                readable = True
            status = _is_right_or_refused(bytes(changed), 0, readable, comparison, f"bytes {number}")
            found[status] = found.get(status, 0) + 1
    print(f"          {found}")


def hostile_values_in_files() -> None:
    """Every value of a small file replaced by another kind of value."""
    base = check_made._made(
        added_tokens=[check_made._token(1500, "<a>", special=True), check_made._token(1501, "<b>", lstrip=True)],
        normalizer={"type": "Sequence", "normalizers": [{"type": "NFC"}]},
        pre_tokenizer=check_made._sequence(
            check_made._split({"Regex": r"\p{L}+"}),
            check_made._split({"String": "x"}, "Removed", True),
            check_made.BYTES_ALONE,
        ),
        post_processor={
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": "<a>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"<a>": {"id": "<a>", "ids": [1500], "tokens": ["<a>"]}},
        },
    )
    base["model"]["merges"] = base["model"]["merges"][:50]
    values = (None, True, False, 0, -1, 1.5, 2**31, 2**32 - 1, 2**32, 2**63, 2**64, 1e300, "", "a", " ", "\x00", "<a>", [], {},
              [[]], [None], ["a"], {"a": 1}, {"type": "ByteLevel"}, "x" * 70_000, [[["a"]]], {"": {}})  # fmt: skip
    random, found = chance("values"), {}
    with Comparison() as comparison:
        for path in list(_paths(base, random)):
            for value in values:
                made = _replaced(base, path, value)
                name = f"{'.'.join(map(str, path))} = {str(value)[:20]!r}"
                status = _is_right_or_refused(json.dumps(made).encode(), 0, True, comparison, name)
                found[status] = found.get(status, 0) + 1
    print(f"          {found}")


def _paths(value: Any, random: Any, path: tuple[Any, ...] = ()) -> Any:
    """Of all values, but of large lists only a few."""
    if path:
        yield path
    items = list(value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ())
    for key, item in items if len(items) < 20 else random.sample(items, 3):
        yield from _paths(item, random, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    if not path:
        return new
    copied = value.copy()
    copied[path[0]] = _replaced(copied[path[0]], path[1:], new)
    return copied


def odd_json() -> None:
    base = json.dumps(check_made._base())
    deep = 100_000
    cases = {
        "deep arrays": "[" * deep,
        "deep objects": '{"a":' * deep,
        "deep arrays inside": base[:-1] + ',"x":' + "[" * deep + "]" * deep + "}",
        "deep pre-tokenizers": base.replace(
            '"pre_tokenizer": {', '"pre_tokenizer": ' + '{"type":"Sequence","pretokenizers":[' * 200 + "{", 1
        ).replace('"post_processor"', "]}" * 200 + ',"post_processor"', 1),
        "nothing": "",
        "white space": " \n",
        "null": "null",
        "an array": "[]",
        "an empty object": "{}",
        "two documents": base + base,
        "a mark of byte order": "\ufeff" + base,
        "a model twice": base[:-1] + ',"model":' + json.dumps(check_made._base()["model"]) + "}",
        "a comment": "/* */" + base,
        "a comma too many": base[:-1] + ",}",
        "NaN": base.replace('"version": "1.0"', '"version": NaN'),
        "escapes": base.replace("model", "\\u006dodel"),
        "half a surrogate": base.replace('"unk_token": null', '"unk_token": "\\ud800"'),
        "a token twice": base.replace('"vocab": {', '"vocab": {"Ġthe": 3, '),
    }
    merges = {
        "an unknown token": ["qq", "zz"],
        "one token": ["a"],
        "three tokens": ["a", "b", "c"],
        "numbers": [1, 2],
        "an empty token": ["", "a"],
        "no space": "ab",
        "two spaces": "a b c",
        "a comment": "#version: 0.2",
    }
    for name, merge in merges.items():
        made = check_made._base()
        cases[f"merge of {name}"] = json.dumps({**made, "model": {**made["model"], "merges": [merge]}})
    for name, vocabulary in {
        "huge ids": {token: id + 2**32 - 2000 for token, id in check_made._base()["model"]["vocab"].items()},
        "ids far apart": {token: id * 2_000_000 for token, id in check_made._base()["model"]["vocab"].items()},
        "one id for all": dict.fromkeys(check_made._base()["model"]["vocab"], 5),
        "no bytes": {"the": 0},
    }.items():
        made = check_made._base()
        cases[f"vocabulary of {name}"] = json.dumps({**made, "model": {**made["model"], "vocab": vocabulary}})
    with Comparison() as comparison:
        for name, text in cases.items():
            status = _is_right_or_refused(text.encode(), 0, len(text) < 10 * len(base), comparison, name)
            print(f"          {name}: {status}")


def odd_rank_files() -> None:
    row = next(row for row in real() if row.name == "qwen.tiktoken")
    good = row.native.read_bytes()
    cases = (b"", b"\n", b"a", b"YQ== ", b"YQ== x", b" 1", b"YQ== 1\nYQ== 1", b"YQ== 99999999999999999999", b"=== 1", b"\xff\xff 1",
             good + b"!!!", good + b"YQ== 4294967295\n", good + good, good.replace(b" ", b"\t"), good.replace(b"\n", b"\r\n"))  # fmt: skip
    found: dict[str, int] = {}
    with Comparison() as comparison:
        for number, data in enumerate(cases):
            status = _is_right_or_refused(data, 2, False, comparison, f"ranks {number}")
            found[status] = found.get(status, 0) + 1
        for number, data in enumerate(
            (b"", b"{}", b"[]", b'{"config":{}}', b'{"config":5,"vocab":7}', b'{"vocab":[{"rank":-1}]}')
        ):
            _is_right_or_refused(data, 1, False, comparison, f"tekken {number}")
    print(f"          {found}")
