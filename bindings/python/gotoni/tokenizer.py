"""A model's own token ids from text, by the library libgotoni-tokenizer. Routing does not need it."""

import os
import pathlib
from array import array
from ctypes import byref, c_char_p, c_size_t, c_void_p
from types import TracebackType
from typing import Any, Callable, Optional, Union

from ._inputs import array_address, u64
from .errors import TokenizerError

Text = Union[str, bytes]
"""What is tokenized: text, or its UTF-8."""

_NO_ID = 0xFFFF_FFFF


class _Handle(c_void_p):
    """The C tokenizer. ctypes holds it during every call, so it is destroyed only when no call uses it."""

    destroy: Callable[..., Any]

    def __del__(self) -> None:
        self.destroy(self)


class Tokenizer:
    """Turns text into a model's token ids, exactly as Hugging Face's `tokenizers` does, for byte-level BPE.

    Any method may be called from any thread. The library is looked for when the first tokenizer is made;
    ImportError says what to do if it is not there.
    """

    def __init__(self, path: Union[str, "os.PathLike[str]"], *, cache_bytes: int = 0) -> None:
        """Reads `path`: a model's folder, with its tokenizer_config.json, or a file alone.

        A file's name says what it is: tekken*.json, *.tiktoken (Qwen's), else a tokenizer.json. `cache_bytes`: most
        memory for messages lately seen, 0 for 64 MiB. Takes some 0.1 s. Errors: OSError, TokenizerError for a file
        that is damaged, or of a model that cannot be followed exactly.
        """
        from . import _tokenizer_abi as abi

        self._abi = abi
        self._handle: Optional[_Handle] = None
        file, config = _files(pathlib.Path(path))
        formats = {"tekken": abi.GOTONI_TOKENIZER_TEKKEN, "tiktoken": abi.GOTONI_TOKENIZER_QWEN_TIKTOKEN}
        format = formats.get(_kind(file), abi.GOTONI_TOKENIZER_HUGGING_FACE)
        data = file.read_bytes()
        beside = config.read_bytes() if config else None
        handle = _Handle()
        handle.destroy = abi.gotoni_tokenizer_destroy
        why = c_char_p()
        status = abi.gotoni_tokenizer_create(
            data,
            len(data),
            format,
            beside,
            len(beside or b""),
            u64(cache_bytes, "cache_bytes"),
            byref(handle),
            byref(why),
        )
        if status:
            raise self._error(status, why.value)
        self._handle = handle

    def close(self) -> None:
        """Frees what the tokenizer holds. Later calls raise TokenizerError."""
        self._handle = None

    @property
    def closed(self) -> bool:
        return self._handle is None

    def __enter__(self) -> "Tokenizer":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def encode(self, text: Text, add_special_tokens: bool = False) -> "array[int]":
        """The ids of `text`, as `array('I')`, which `Router.route` reads in place.

        Special tokens in the text are recognised, as engines do with a rendered prompt. `add_special_tokens`: with
        those that the model wants around a prompt. Errors: TokenizerError.
        """
        data = _utf8(text)
        count = c_size_t(len(data) // 2 + 64)  # more than any language needs; bytes of no language may need twice that
        while True:
            ids = array("I", (0,)) * count.value
            status = self._encode(data, add_special_tokens, array_address(ids), len(ids), count)
            if status != self._abi.GOTONI_TOKENIZER_E_BUFFER:
                break
        if status:
            raise self._error(status)
        del ids[count.value :]
        return ids

    def count(self, text: Text, add_special_tokens: bool = False) -> int:
        """How many ids `encode` would give."""
        count = c_size_t()
        if status := self._encode(_utf8(text), add_special_tokens, None, 0, count):
            raise self._error(status)
        return count.value

    def id(self, token: Text) -> Optional[int]:
        """The id of a token by its bytes (not as vocabularies spell them) or, of a special one, its text."""
        data = _utf8(token)
        if self._handle is None:
            raise self._error(self._abi.GOTONI_TOKENIZER_E_ARGUMENT)
        id: int = self._abi.gotoni_tokenizer_id(self._handle, data, len(data))
        return None if id == _NO_ID else id

    def _encode(self, data: bytes, add_special_tokens: bool, ids: Optional[int], capacity: int, count: c_size_t) -> int:
        flags = self._abi.GOTONI_TOKENIZER_ADD_SPECIAL_TOKENS if add_special_tokens else 0
        status: int = self._abi.gotoni_tokenizer_encode(
            self._handle, data, len(data), flags, ids, capacity, byref(count)
        )
        return status

    def _error(self, status: int, why: Optional[bytes] = None) -> TokenizerError:
        """The exception for a negative status, in the library's words."""
        text = (why or self._abi.gotoni_tokenizer_status_text(status)).decode()
        if status == self._abi.GOTONI_TOKENIZER_E_ARGUMENT and self.closed:
            text = "The tokenizer is closed."
        return TokenizerError(status, text)


def _files(path: pathlib.Path) -> tuple[pathlib.Path, Optional[pathlib.Path]]:
    """The vocabulary, and the configuration beside it."""
    if not path.is_dir():
        return path, None
    config = path / "tokenizer_config.json"
    for name in ("tokenizer.json", "tekken.json", "qwen.tiktoken"):
        if (path / name).exists():
            return path / name, config if name == "tokenizer.json" and config.exists() else None
    return path / "tokenizer.json", None


def _kind(file: pathlib.Path) -> str:
    if file.suffix == ".tiktoken":
        return "tiktoken"
    return "tekken" if file.name.startswith("tekken") and file.suffix == ".json" else ""


def _utf8(text: Text) -> bytes:
    # A lone surrogate becomes bytes that the library refuses, as it refuses other bytes that are not UTF-8.
    return text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
