"""Small tokenizer.json of every kind: what a file can say, said differently, has the ids that `tokenizers` gives."""

from __future__ import annotations

import copy
import functools
import itertools
import json
from random import Random
from typing import Any

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

import corpus
import grammar
from context import SEED, Comparison, by, chance, specials
from native import Native, Refused
from vocabularies import CL100K, O200K

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BYTES_ALONE = {**BYTE_LEVEL, "use_regex": False}
BEHAVIORS = ("Isolated", "Removed", "MergedWithPrevious", "MergedWithNext", "Contiguous")
# Of real models, and such as a file could have.
PATTERNS = (
    {"Regex": CL100K},
    {"Regex": O200K},
    {"Regex": r"\s"},
    {"Regex": r"\s+"},
    {"Regex": r"[a-z]+"},
    {"Regex": r"[一-龥぀-ゟ゠-ヿ]+"},
    {"Regex": r"\p{N}{1,3}"},
    {"Regex": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+"},
    {"Regex": r"(?=(\d{3})+(?!\d))\d"},
    {"Regex": r"[\r\n]+|[\p{L}\p{N}]+|[^\p{L}\p{N}\s]"},
    {"Regex": r"\d{1,3}(?=(?:\d{3})*\b)"},
    {"Regex": r"(?<![A-Za-z])[A-Z]|(?<=x)y"},
    {"String": " "},
    {"String": "a"},
    {"String": "."},
    {"String": "\n"},
    {"String": "漢"},
    {"String": "--"},
    {"String": "(?i)[a-z]"},
)


@functools.cache
def _base() -> dict[str, Any]:
    """A byte-level BPE of 1,500 tokens, as `tokenizers` writes it."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(show_progress=False, vocab_size=1500, initial_alphabet=sorted(alphabet))
    texts = corpus.all_texts(1)
    tokenizer.train_from_iterator(
        [texts[name][:20_000] for name in ("prose", "code", "languages", "boundaries")], trainer
    )
    return json.loads(tokenizer.to_str())


def _made(**changes: Any) -> dict[str, Any]:
    made = copy.deepcopy(_base())
    made["model"].update(changes.pop("model", {}))
    return {**made, **changes}


def _token(id: int, content: str, **flags: bool) -> dict[str, Any]:
    said = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}
    return {"id": id, "content": content, **said}


def _compare(name: str, made: dict[str, Any], comparison: Comparison, count: int = 150) -> None:
    source = json.dumps(made, ensure_ascii=False)
    theirs = Tokenizer.from_str(source)
    ours = Native(source.encode())
    random = chance(name)
    added = specials(theirs)
    texts = ["", " ", "a", "\n", " a", "a ", "  a", *added, *(f"a {token} \t{token}b" for token in added)]
    texts += [grammar.text(random, added, 30) for _ in range(count)]
    for text in texts:
        comparison.add(name, text, by(ours), by(theirs))
        comparison.add(name, text, by(ours, True), by(theirs, True))


def _compare_each(cases: dict[str, dict[str, Any]], count: int = 150, may_refuse: bool = False) -> None:
    refused = set()
    with Comparison() as comparison:
        for name, made in cases.items():
            try:
                _compare(name, made, comparison, count)
            except Refused as error:
                if not may_refuse or error.status != "E_UNSUPPORTED":
                    comparison.found.append(f"{name}: {error}")
                refused.add(name)
    if refused:
        print(f"          ({len(refused)} of {len(cases)} are refused, the first {min(refused)[:150]})")


def _split(pattern: dict[str, str], behavior: str = "Isolated", invert: bool = False) -> dict[str, Any]:
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def _sequence(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"type": "Sequence", "pretokenizers": list(parts)}


def splits_of_every_behavior() -> None:
    cases = {}
    for pattern, behavior, invert in itertools.product(PATTERNS, BEHAVIORS, (False, True)):
        made = _made(pre_tokenizer=_sequence(_split(pattern, behavior, invert), BYTES_ALONE))
        cases[f"{pattern} {behavior} {invert}"] = made
    _compare_each(cases, 40, may_refuse=True)


def splits_after_splits() -> None:
    random = chance("splits")
    cases = {}
    for _ in range(60):
        steps = _random_steps(random)
        cases[f"{steps}"] = _made(pre_tokenizer=_sequence(*steps))
    _compare_each(cases, 60, may_refuse=True)


def _random_steps(random: Random) -> list[dict[str, Any]]:
    """Of a pre-tokenizer; the byte level comes last."""
    steps = [
        _split(random.choice(PATTERNS), random.choice(BEHAVIORS), random.random() < 0.3)
        if random.random() < 0.8
        else {"type": "Digits", "individual_digits": random.random() < 0.5}
        for _ in range(random.randrange(5))
    ]
    return [*steps, BYTE_LEVEL if random.random() < 0.3 else BYTES_ALONE]


def random_model(random: Random) -> dict[str, Any]:
    """With a pre-tokenizer, a normalizer and added tokens of any kind."""
    normalizer = random.choice((None, None, {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}))
    model = {"ignore_merges": random.random() < 0.3}
    made = _made(normalizer=normalizer, added_tokens=_random_tokens(random), model=model)
    if random.random() < 0.2:
        made["pre_tokenizer"] = {**BYTE_LEVEL, "add_prefix_space": random.random() < 0.7}
    else:
        made["pre_tokenizer"] = _sequence(*_random_steps(random))
    return made


def digits() -> None:
    cases = {}
    for individual, last in itertools.product((False, True), (BYTE_LEVEL, BYTES_ALONE)):
        digits = {"type": "Digits", "individual_digits": individual}
        cases[f"digits {individual} {last}"] = _made(pre_tokenizer=_sequence(digits, last))
    _compare_each(cases, 400)


def a_space_before_the_text() -> None:
    """Also with added tokens: each part between them gets one."""
    added = [_token(1500, "<a>", normalized=True), _token(1501, "<b>"), _token(1502, "<c>", lstrip=True, rstrip=True)]
    cases = {}
    for regex, normalizer, tokens in itertools.product((False, True), (None, {"type": "NFC"}), ([], added)):
        step = {**BYTE_LEVEL, "add_prefix_space": True, "use_regex": regex}
        cases[f"prefix {regex} {normalizer} {len(tokens)}"] = _made(
            pre_tokenizer=step, normalizer=normalizer, added_tokens=tokens
        )
    _compare_each(cases, 300)


ADDED = ("<a>", "<a><", "<a><b>", "a>", "<|x|>", "<|x|>>", "x", " x", "x ", "\n", "漢", "é", "e\u0301", "ﬁ", "Å", "ﷺ", "Hello",
         "Hello world", "▁", "'", "'s", " ", "  ", "0", "12", "\u0301", "à<", "<s>", "</s>", "[INST]")  # fmt: skip


def added_tokens() -> None:
    """Of all flags, in each other's way, and with the normalizer that changes what they are found in."""
    random = chance("added")
    cases = {}
    for _ in range(120):
        normalizer = random.choice((None, None, {"type": "NFC"}, {"type": "NFD"}, {"type": "NFKC"}, {"type": "NFKD"}))
        tokens = _random_tokens(random)
        cases[f"{normalizer} {tokens}"] = _made(added_tokens=tokens, normalizer=normalizer)
    _compare_each(cases, 80)


def added_tokens_that_are_equal() -> None:
    """In the file: the last counts. Once they are normalized: either may, as `tokenizers` has them in no order."""
    tokens = [_token(0, name, normalized=normal) for name in ("ḗ", "e\u0304\u0301", "<a>") for normal in (False, True)]
    cases = {}
    for first, second in itertools.product(tokens, tokens):
        is_one = first["content"] == second["content"]
        pair = [
            {**first, "id": 1500},
            {**second, "id": 1500 if is_one else 1501},
            _token(1501 if is_one else 1502, "<a><"),
        ]
        for form in (None, "NFC", "NFD"):
            made = _made(added_tokens=pair, normalizer=form and {"type": form})
            if is_one or form is None or "<a>" in (first["content"], second["content"]):
                cases[f"{form} {pair[:2]}"] = made
            else:
                Native(json.dumps(made).encode()).encode("ḗ ḗ\u0663 e\u0304\u0301\u0301")
    _compare_each(cases, 20)


def _random_tokens(random: Random) -> list[dict[str, Any]]:
    kinds = ("lstrip", "rstrip", "normalized", "special")
    tokens = [
        _token(1500 + index, name, **{kind: random.random() < 0.4 for kind in kinds if name.strip() == name})
        for index, name in enumerate(random.sample(ADDED, random.randrange(1, 9)))
    ]
    # Once both are normalized they are equal, and then `tokenizers` finds now the one, now the other.
    alike = [token for token in tokens if token["content"] in ("é", "e\u0301") and token["normalized"]]
    tokens = [token for token in tokens if token not in alike[1:]]
    if random.random() < 0.2:  # of the vocabulary's own
        tokens.append(_token(_base()["model"]["vocab"]["the"], "the", normalized=random.random() < 0.5))
    return tokens


def normalizers() -> None:
    forms = [{"type": form} for form in ("NFC", "NFD", "NFKC", "NFKD")]
    cases = {str(form): _made(normalizer=form) for form in forms}
    cases |= {f"[{form}]": _made(normalizer={"type": "Sequence", "normalizers": [form]}) for form in forms}
    cases["nothing"] = _made(normalizer={"type": "Sequence", "normalizers": []})
    _compare_each(cases, 600)
    random = chance("normal")
    with Comparison() as comparison:
        for form in forms:
            source = json.dumps(_made(normalizer=form))
            ours, theirs = Native(source.encode()), Tokenizer.from_str(source)
            for _ in range(400):
                pieces = (grammar.MARKS, grammar.WORDS, grammar.NEW)
                text = "".join(random.choice(random.choice(pieces)) for _ in range(random.randrange(1, 12)))
                comparison.add(f"{form}", text, by(ours), by(theirs))
            for start in range(0, 0x32000, 1024):
                text = " ".join(
                    f"e{c}\u0301\u0323{c}"
                    for code in range(start, start + 1024)
                    if not 0xD800 <= code < 0xE000
                    for c in chr(code)
                )
                comparison.add(f"{form} from {start:x}", text, by(ours), by(theirs))


def whole_words_before_merges() -> None:
    """Some words of the vocabulary are no merge's: only ignore_merges finds them."""
    vocabulary = dict(_base()["model"]["vocab"])
    for word in (
        "Ġrouters",
        "qqqq",
        "Ġ漢".replace("漢", "æ¼¢"),
        "1234567890",
        "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
    ):
        vocabulary.setdefault(word, len(vocabulary))
    cases = {}
    for ignores in (False, True):
        model = {"vocab": vocabulary, "ignore_merges": ignores}
        cases[f"ignore_merges {ignores}"] = _made(model=model)
    with Comparison() as comparison:
        for name, made in cases.items():
            _compare(name, made, comparison, 200)
            source = json.dumps(made)
            ours, theirs = Native(source.encode()), Tokenizer.from_str(source)
            for text in (" routers qqqq", " 漢", "1234567890 12345678901", "z" * 40, "z" * 41, "z" * 80):
                comparison.add(name, text, by(ours), by(theirs))


def merges_written_in_both_ways() -> None:
    """As pairs, and as texts with a space between; also twice, and in another order."""
    merges = [tuple(merge) for merge in _base()["model"]["merges"]]
    random = chance("merges")
    shuffled = random.sample(merges, len(merges))
    cases = {
        "pairs": _made(model={"merges": [list(merge) for merge in merges]}),
        "texts": _made(model={"merges": [" ".join(merge) for merge in merges]}),
        "twice": _made(model={"merges": [list(merge) for merge in merges + merges[:200]]}),
        "shuffled": _made(model={"merges": [list(merge) for merge in shuffled]}),
        "few": _made(model={"merges": [list(merge) for merge in merges[:3]]}),
        "none": _made(model={"merges": []}),
    }
    _compare_each(cases, 200)


def tokens_around_a_prompt_by_templates() -> None:
    tokens = [_token(1500, "<s>", special=True), _token(1501, "</s>", special=True), _token(1502, "<x>")]
    special, sequence = (
        (lambda name: {"SpecialToken": {"id": name, "type_id": 0}}),
        {"Sequence": {"id": "A", "type_id": 0}},
    )
    known = {
        "<s>": {"id": "<s>", "ids": [1500], "tokens": ["<s>"]},
        "</s>": {"id": "</s>", "ids": [1501], "tokens": ["</s>"]},
        "two": {"id": "two", "ids": [1501, 1502], "tokens": ["</s>", "<x>"]},
    }
    singles = (
        [sequence],
        [special("<s>"), sequence],
        [sequence, special("</s>")],
        [special("<s>"), sequence, special("</s>")],
        [special("<s>"), special("<s>"), sequence, special("two"), special("</s>")],
    )
    cases = {}
    for number, single in enumerate(singles):
        pair = [*single, {"Sequence": {"id": "B", "type_id": 1}}]
        template = {"type": "TemplateProcessing", "single": single, "pair": pair, "special_tokens": known}
        cases[f"template {number}"] = _made(added_tokens=tokens, post_processor=template)
        both = {"type": "Sequence", "processors": [{**BYTE_LEVEL}, template]}
        cases[f"sequence {number}"] = _made(added_tokens=tokens, post_processor=both)
    cases["bytes"] = _made(added_tokens=tokens, post_processor=BYTE_LEVEL)
    _compare_each(cases, 60)


def patterns_of_what_white_space_letters_and_digits_are() -> None:
    """One class at a time, on every scalar value: what Oniguruma's tables say."""
    classes = (r"\s", r"\S", r"\w", r"\d", r"\p{L}", r"\p{N}", r"\p{M}", r"\p{P}", r"\p{S}", r"\p{Lu}", r"\p{Ll}", r"\p{Lt}",
               r"\p{Lm}", r"\p{Lo}", r"\p{Nd}", r"[^\s\p{L}\p{N}]", r"\p{Z}", r"(?i:s)", r"(?i:k)", r"(?i:ll)")  # fmt: skip
    scalars = corpus.scalars()
    with Comparison() as comparison:
        for pattern in classes:
            made = _made(pre_tokenizer=_sequence(_split({"Regex": pattern}, "Removed"), BYTES_ALONE))
            source = json.dumps(made)
            try:
                ours = Native(source.encode())
            except Refused as error:
                assert error.status == "E_UNSUPPORTED", (pattern, str(error))
                print(f"          ({pattern} is refused)")
                continue
            theirs = Tokenizer.from_str(source)
            for start in range(0, 0x33000, 4096):
                comparison.add(
                    f"{pattern} from {start:x}", "".join(scalars[start : start + 4096]), by(ours), by(theirs)
                )


def files_that_cannot_be_followed_are_refused() -> None:
    cases = {
        "a model of another kind": _made(model={"type": "WordPiece"}),
        "dropout": _made(model={"dropout": 0.1}),
        "ends of words": _made(model={"end_of_word_suffix": "</w>"}),
        "beginnings of words": _made(model={"continuing_subword_prefix": "##"}),
        "metaspace": _made(pre_tokenizer={"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always"}),
        "no pre-tokenizer": _made(pre_tokenizer=None),
        "something behind the byte level": _made(pre_tokenizer=_sequence(BYTE_LEVEL, _split({"String": "a"}))),
        "lowercase": _made(normalizer={"type": "Lowercase"}),
        "an unknown post-processor": _made(post_processor={"type": "RobertaProcessing"}),
        "whole words": _made(added_tokens=[_token(1500, "<a>", single_word=True)]),
        "a look behind of any length": _made(pre_tokenizer=_sequence(_split({"Regex": r"(?<=a+)b"}), BYTES_ALONE)),
    }
    for name, made in cases.items():
        try:
            Native(json.dumps(made).encode())
        except Refused as error:
            assert error.status == "E_UNSUPPORTED", (name, str(error))
        else:
            raise AssertionError(f"{name}: read, as if it could be followed")


def random_texts_fill_the_vocabulary() -> None:
    """A check of the checks: texts reach most tokens of a small vocabulary."""
    source = json.dumps(_base())
    ours, seen = Native(source.encode()), set()
    for text in corpus.all_texts(SEED).values():
        seen.update(ours.encode(text))
    assert len(seen) > 1300, f"only {len(seen)} of 1500 tokens"
