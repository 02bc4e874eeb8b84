"""Ids and counts are those of the libraries that engines use."""

from __future__ import annotations

import importlib
import io
import json
import pathlib

from tokenizers import Tokenizer, processors

import model_files
from model_files import TEXTS
from service_process import Service, folder, run, shared

ALL = (
    model_files.deepseek,
    model_files.chatml,
    model_files.llama3,
    model_files.mistral,
    model_files.unigram,
    model_files.wordpiece,
)


def _reference(place: pathlib.Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(place / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def ids_are_those_of_the_library() -> None:
    service = shared(*(model() for model in ALL))
    for model in ALL:
        place = model()
        reference = _reference(place)
        for text in TEXTS:
            plain = reference.encode(text, add_special_tokens=False).ids
            # Its ends come from tokenizer_config.json, which checks of their own look at.
            whole = reference.encode(text).ids if place.name != "mistral" else None
            asked = {"model": place.name, "prompt": text}
            assert service.tokens({**asked, "add_special_tokens": False}) == plain, (place.name, text)
            assert whole is None or service.tokens(asked) == whole, (place.name, text)
            assert service.post("/count", {"model": place.name, "text": text}) == {"count": len(plain)}, (
                place.name,
                text,
            )


def begin_and_end_tokens_follow_the_flags_of_llamas_classes() -> None:
    text, first, last = "Hello, world", 0, 1
    plain = _reference(model_files.deepseek()).encode(text, add_special_tokens=False).ids
    llama = "LlamaTokenizerFast"
    # None: nothing is said.
    cases = (
        (llama, True, False, [first, *plain]),
        (llama, False, False, plain),
        (llama, True, True, [first, *plain, last]),
        (llama, None, True, [first, *plain, last]),
        (llama, False, None, plain),
        (llama, None, None, [first, *plain]),
        # Other classes do as tokenizer.json says, whatever the flags.
        ("PreTrainedTokenizerFast", True, True, plain),
    )
    places = [
        model_files.deepseek(tokenizer_class=name, add_bos_token=begins, add_eos_token=ends)
        for name, begins, ends, _ in cases
    ]
    with Service(*(f"{number}={place}" for number, place in enumerate(places))) as service:
        for number, (*case, want) in enumerate(cases):
            asked = {"model": str(number), "prompt": text}
            assert service.tokens(asked) == want, case
            assert service.tokens({**asked, "add_special_tokens": False}) == plain, case


def tokens_of_the_configuration_are_added() -> None:
    place = model_files.chatml()
    service = shared(place)
    size = _reference(place).get_vocab_size()
    assert service.tokens({"prompt": "<tool_call>"}) == [size]
    # Its flags count too: this one swallows the space after it.
    assert service.tokens({"prompt": "</tool_call> \n"}) == [size + 1]


def an_embedding_models_file_neither_cuts_nor_fills() -> None:
    service = shared(model_files.wordpiece())
    ids = service.tokens({"input": "router " * 50})
    assert (len(ids), ids[0], ids[-1]) == (52, 2, 3) and 0 not in ids, ids


def halves_of_characters_become_replacement_characters() -> None:
    service = shared(model_files.deepseek())
    want = service.tokens({"prompt": "a\ufffdb\ufffd😀\ufffd"})
    assert service.tokens(json.loads('{"prompt": "a\\ud800b\\udc00\\ud83d\\ude00\\ud83d"}')) == want
    one = service.tokens({"messages": [{"role": "user", "content": "a\ud83d"}]})
    assert one == service.tokens({"messages": [{"role": "user", "content": "a\ufffd"}]})


def raw_sentencepiece_models_need_their_package() -> None:
    """Without it a sentence says so; with it the ids are its own."""
    place = folder() / "raw"
    try:
        library = importlib.import_module("sentencepiece")
    except ImportError:
        print("  SKIPPED raw SentencePiece models: sentencepiece is not installed; only its absence is looked at")
        place.mkdir()
        (place / "tokenizer.model").write_bytes(b"\x0a\x0e")
        status, words = run("--model", str(place), "--socket", str(place / "s"))
        assert status == 1 and "needs the package sentencepiece" in words, words
        return
    written = io.BytesIO()
    library.SentencePieceTrainer.train(
        sentence_iterator=iter(model_files.WORDS * 20),
        model_writer=written,
        vocab_size=330,
        model_type="bpe",
        byte_fallback=True,
        hard_vocab_limit=False,
        character_coverage=0.98,
        minloglevel=2,
    )
    config = {"bos_token": "<s>", "eos_token": "</s>", "chat_template": model_files.source("mistral")}
    model_files.write(place, None, config)
    (place / "tokenizer.model").write_bytes(written.getvalue())
    reference = library.SentencePieceProcessor(model_proto=written.getvalue())
    with Service(place) as service:
        for text in (text for text in TEXTS if "<s>" not in text):
            assert service.tokens({"prompt": text}) == [1, *reference.encode(text)], text
        chat = service.tokens({"messages": [{"role": "user", "content": "Hello"}]})
        assert chat == [1, *reference.encode("[INST] Hello [/INST]")]


def a_template_of_the_library_is_what_is_made_for_flags() -> None:
    """The library's own way to write the ends gives the same."""
    place = model_files.mistral()
    reference = _reference(place)
    reference.post_processor = processors.TemplateProcessing(
        single="<s>:0 $A:0", pair="<s>:0 $A:0 <s>:1 $B:1", special_tokens=[("<s>", 1)]
    )
    service = shared(place)
    for text in TEXTS:
        assert service.tokens({"prompt": text}) == reference.encode(text).ids, text
