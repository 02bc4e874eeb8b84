"""Models: where their files are, and how they tokenize.

`load("NAME=PATH")` finds a model's files, in a folder or in the local cache of Hugging Face, and gives a Model. A Model
tokenizes as `transformers` does with the same files: `tokenizer.json`, the tokens and flags of `tokenizer_config.json`,
the chat templates beside them.
"""

from __future__ import annotations

import importlib
import json
import os
import pathlib
import re
import time
from typing import Any, Protocol

import jinja2
import tokenizers
from tokenizers import processors

from gotoni_tokenizer.errors import RequestError, StartError
from gotoni_tokenizer.templates import ChatTemplate

# "tokenizer.json" alone has no names for these.
SPECIAL = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
# These classes put their begin and end tokens as tokenizer_config.json says, whatever tokenizer.json says.
FLAGGED_CLASSES = ("LlamaTokenizer", "CodeLlamaTokenizer", "CohereTokenizer", "GemmaTokenizer", "GPTNeoXTokenizer")
FILES = (
    "tokenizer*",
    "*.model",
    "chat_template*",
    "additional_chat_templates/*",
    "special_tokens_map.json",
    "config.json",
)
# Where a model has no limit, its files say 10^30 tokens.
NO_LIMIT = 10**9


class Encoder(Protocol):
    """Text to ids; safe to call from several threads at once."""

    def encode(self, text: str, special_tokens: bool) -> list[int]: ...


class Model:
    """A tokenizer with its name, chat templates and special tokens. Thread-safe."""

    def __init__(self, name: str, folder: pathlib.Path, file: pathlib.Path, most_text: int) -> None:
        """`file`: tokenizer.json or a SentencePiece model; the others are beside it. Raises StartError."""
        started = time.monotonic()
        self.name = name
        self.most_text = most_text
        config = _json(folder / "tokenizer_config.json")
        self.special_tokens = _special_tokens({**_json(folder / "special_tokens_map.json"), **config})
        self.max_length = _max_length(config, _json(folder / "config.json"))
        self._templates = _templates(folder, config, most_text)
        self._encoder: Encoder
        if file.suffix == ".model":
            self._encoder = _SentencePiece(file, config, self.special_tokens)
        else:
            self._encoder = _Tokenizers(file, config, self.special_tokens)
        self.load_s = time.monotonic() - started

    def encode(self, text: str, special_tokens: bool) -> list[int]:
        """Raises RequestError, with 413 for a text over `most_text` bytes of UTF-8."""
        try:
            size = len(text) if text.isascii() else len(text.encode())
        except UnicodeEncodeError:
            # Halves of surrogate pairs, which JSON can write and no text has: U+FFFD, as where engines take them.
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
            size = len(text.encode())
        if size > self.most_text:
            raise RequestError(f"The text has {size} bytes, more than the {self.most_text} that are tokenized.", 413)
        try:
            return self._encoder.encode(text, special_tokens)
        except Exception as error:
            raise RequestError(f"The tokenizer refuses the text: {type(error).__name__}.") from None
        except BaseException as error:
            # A panic of the Rust library, such as one of a pattern that gave up on a very long word.
            if type(error).__name__ != "PanicException":
                raise
            raise RequestError("The tokenizer gives up on the text.") from None

    def template(self, has_tools: bool) -> ChatTemplate:
        """Raises RequestError, if there is none."""
        if not self._templates:
            raise RequestError(f"The model {self.name} has no chat template.")
        found = self._templates.get("tool_use") if has_tools else None
        found = found or self._templates.get("default")
        if found is None:
            raise RequestError(f"None of the chat templates of the model {self.name} is its default.")
        return found

    @property
    def has_template(self) -> bool:
        return bool(self._templates)


# MARK: Encoders


class _Tokenizers:
    """A tokenizer.json, by the library that all engines use."""

    def __init__(self, file: pathlib.Path, config: dict[str, Any], special: dict[str, Any]) -> None:
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        # The library raises Exception itself.
        except Exception as error:
            raise StartError(f"{file}: no tokenizer: {error}") from None
        # Files of embedding models ask for both; engines count all tokens.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._add_tokens(config, special)
        self._set_ends(config, special)

    def _add_tokens(self, config: dict[str, Any], special: dict[str, Any]) -> None:
        """Tokens that the configuration has and tokenizer.json lacks, or has otherwise."""
        there = self._tokenizer.get_added_tokens_decoder()
        alike = {repr(token) for token in there.values()}
        texts = {token.content for token in there.values()}
        added = []
        for _, entry in sorted((config.get("added_tokens_decoder") or {}).items(), key=lambda item: int(item[0])):
            flags = {
                key: entry[key] for key in ("single_word", "lstrip", "rstrip", "normalized", "special") if key in entry
            }
            token = tokenizers.AddedToken(entry["content"], **flags)
            if repr(token) not in alike:
                added.append(token)
                texts.add(token.content)
        for value in special.values():
            for text in value if isinstance(value, list) else [value]:
                if text not in texts:
                    added.append(tokenizers.AddedToken(text, special=True, normalized=False))
                    texts.add(text)
        for token in added:
            (self._tokenizer.add_special_tokens if token.special else self._tokenizer.add_tokens)([token])

    def _set_ends(self, config: dict[str, Any], special: dict[str, Any]) -> None:
        """The begin and end tokens, for the classes that take them from the configuration."""
        of_class = str(config.get("tokenizer_class", "")).replace("TokenizerFast", "Tokenizer")
        if of_class not in FLAGGED_CLASSES:
            return
        begins, ends = _ends(config, special, of_class != "GPTNeoXTokenizer")
        first, last = ["$A"], ["$B:1"]
        if begins:
            first, last = [begins, *first], [f"{begins}:1", *last]
        if ends:
            first, last = [*first, ends], [*last, f"{ends}:1"]
        known = [(token, self._tokenizer.token_to_id(token)) for token in dict.fromkeys([begins, ends]) if token]
        self._tokenizer.post_processor = processors.TemplateProcessing(
            single=first, pair=[*first, *last], special_tokens=known
        )

    def encode(self, text: str, special_tokens: bool) -> list[int]:
        # The batch of one is the call that does not keep track of where in the text each token is.
        return self._tokenizer.encode_batch_fast([text], add_special_tokens=special_tokens)[0].ids


class _SentencePiece:
    """A raw SentencePiece model, with the special tokens of the configuration cut out of texts first."""

    def __init__(self, file: pathlib.Path, config: dict[str, Any], special: dict[str, Any]) -> None:
        try:
            library = importlib.import_module("sentencepiece")
        except ImportError:
            raise StartError(
                f"{file}: a raw SentencePiece model needs the package sentencepiece: "
                "pip install 'gotoni-tokenizer[sentencepiece]', or make a tokenizer.json of it"
            ) from None
        try:
            self._pieces = library.SentencePieceProcessor(model_file=str(file))
        except Exception as error:
            raise StartError(f"{file}: no SentencePiece model: {error}") from None
        self._ids = {entry["content"]: int(id_) for id_, entry in (config.get("added_tokens_decoder") or {}).items()}
        for value in special.values():
            for token in value if isinstance(value, list) else [value]:
                known = self._pieces.piece_to_id(token)
                if token not in self._ids and self._pieces.id_to_piece(known) == token:
                    self._ids[token] = known
        longest_first = sorted(self._ids, key=len, reverse=True)
        self._cut = re.compile(f"({'|'.join(map(re.escape, longest_first))})") if longest_first else None
        self._begins, self._ends = _ends(config, special, True)

    def encode(self, text: str, special_tokens: bool) -> list[int]:
        ids = [self._ids[self._begins]] if special_tokens and self._begins in self._ids else []
        for piece in self._cut.split(text) if self._cut else [text]:
            if piece in self._ids:
                ids.append(self._ids[piece])
            elif piece:
                ids.extend(self._pieces.encode(piece))
        if special_tokens and self._ends in self._ids:
            ids.append(self._ids[self._ends])
        return ids


# MARK: Files


def load(given: str, most_text: int) -> Model:
    """`given`: a folder, a file or a name of Hugging Face's, each perhaps after "NAME=". Raises StartError."""
    name, place = "", given
    if "=" in given and not os.path.exists(given):
        name, _, place = given.partition("=")
    path = pathlib.Path(place).expanduser()
    if not place or (not name and given.startswith("=")):
        raise StartError(f"{given}: not like NAME=PATH")
    if path.exists():
        folder = path if path.is_dir() else path.parent
        name = name or folder.resolve().name
    else:
        folder = path = _cached(place)
        name = name or place
    file = path if path.is_file() else _tokenizer_file(folder)
    return Model(name, folder, file, most_text)


def _tokenizer_file(folder: pathlib.Path) -> pathlib.Path:
    for file in (folder / "tokenizer.json", folder / "tokenizer.model", folder / "spiece.model"):
        if file.is_file():
            return file
    raise StartError(f"{folder}: has neither a tokenizer.json nor a tokenizer.model")


def _cached(name: str) -> pathlib.Path:
    """The newest snapshot of the model in Hugging Face's local cache, downloaded if that is possible and allowed."""
    if not re.fullmatch(r"[\w.-]+(/[\w.-]+)?", name) or ".." in name:
        raise StartError(f"{name}: there is no such folder or file")
    environment = os.environ
    home = environment.get("HF_HOME") or os.path.join(
        environment.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    cache = pathlib.Path(environment.get("HF_HUB_CACHE") or os.path.join(home, "hub"))
    model = cache / f"models--{name.replace('/', '--')}"
    reference = model / "refs" / "main"
    snapshots = [model / "snapshots" / reference.read_text().strip()] if reference.is_file() else []
    if (model / "snapshots").is_dir():
        snapshots += sorted((model / "snapshots").iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
    for snapshot in snapshots:
        if any((snapshot / file).is_file() for file in ("tokenizer.json", "tokenizer.model", "spiece.model")):
            return snapshot
    return _downloaded(name, cache)


def _downloaded(name: str, cache: pathlib.Path) -> pathlib.Path:
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        raise StartError(f"{name}: no such folder, not in {cache}, and HF_HUB_OFFLINE is set; give its folder instead")
    try:
        library = importlib.import_module("huggingface_hub")
    except ImportError:
        raise StartError(
            f"{name}: no such folder, and not in {cache}; give its folder, or let it be downloaded: "
            "pip install 'gotoni-tokenizer[download]'"
        ) from None
    try:
        return pathlib.Path(library.snapshot_download(name, cache_dir=cache, allow_patterns=list(FILES)))
    except Exception as error:
        raise StartError(
            f"{name}: cannot be downloaded: {str(error).splitlines()[0] or type(error).__name__}"
        ) from None


def _json(file: pathlib.Path) -> dict[str, Any]:
    """The object in `file`, empty if there is no such file."""
    if not file.is_file():
        return {}
    try:
        found = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise StartError(f"{file}: {error}") from None
    if not isinstance(found, dict):
        raise StartError(f"{file}: not a JSON object")
    return found


def _ends(config: dict[str, Any], special: dict[str, Any], begins: bool) -> tuple[str | None, str | None]:
    """The tokens that are put before and after a text. `begins`: what counts where nothing is said of the first."""
    first = special.get("bos_token") if config.get("add_bos_token", begins) else None
    last = special.get("eos_token") if config.get("add_eos_token", False) else None
    return first, last


def _content(token: Any) -> str:
    """Tokens are texts, or objects with their text in `content`."""
    return str(token["content"]) if isinstance(token, dict) else str(token)


def _special_tokens(config: dict[str, Any]) -> dict[str, Any]:
    """By the names that chat templates use: texts, and lists of texts."""
    found: dict[str, Any] = {key: _content(config[key]) for key in SPECIAL if config.get(key)}
    for key in ("additional_special_tokens", "extra_special_tokens"):
        more = config.get(key)
        if isinstance(more, list):
            found[key] = [_content(token) for token in more]
        elif isinstance(more, dict):
            found.update((name, _content(token)) for name, token in more.items())
    return found


def _max_length(tokenizer_config: dict[str, Any], model_config: dict[str, Any]) -> int | None:
    """Tokens that the model takes, by its own files, or None. An engine may be told to take fewer."""
    text_config = model_config.get("text_config")
    inner = text_config if isinstance(text_config, dict) else {}
    limits = [
        tokenizer_config.get("model_max_length"),
        model_config.get("max_position_embeddings", inner.get("max_position_embeddings")),
    ]
    known = [int(limit) for limit in limits if isinstance(limit, (int, float)) and 0 < limit < NO_LIMIT]
    return min(known, default=None)


def _templates(folder: pathlib.Path, config: dict[str, Any], most_characters: int) -> dict[str, ChatTemplate]:
    """By name. Files go before what tokenizer_config.json has. Raises StartError for one that cannot be read."""
    sources: dict[str, Any] = {}
    if (folder / "chat_template.jinja").is_file():
        sources["default"] = (folder / "chat_template.jinja").read_text(encoding="utf-8")
    for file in sorted((folder / "additional_chat_templates").glob("*.jinja")):
        sources[file.stem] = file.read_text(encoding="utf-8")
    if not sources:
        given = config.get("chat_template") or _json(folder / "chat_template.json").get("chat_template")
        if isinstance(given, list):
            sources = {str(entry["name"]): entry["template"] for entry in given}
        elif given:
            sources = {"default": given}
    try:
        return {name: ChatTemplate(source, most_characters) for name, source in sources.items()}
    except (jinja2.TemplateError, KeyError, TypeError) as error:
        raise StartError(f"{folder}: its chat template cannot be read: {error}") from None
