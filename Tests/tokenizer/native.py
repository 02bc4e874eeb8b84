"""libgotoni-tokenizer through its C interface, as the Python binding declares it; libgotoni itself is not needed."""

from __future__ import annotations

import importlib
import pathlib
import sys
import types
from array import array
from ctypes import byref, c_char_p, c_size_t, c_void_p
from typing import Any

BINDING = pathlib.Path(__file__).resolve().parents[2] / "bindings" / "python" / "gotoni"


def _load() -> Any:
    """The binding's declarations, without what the package's `__init__` needs; GOTONI_TOKENIZER_LIBRARY names the library."""
    package = types.ModuleType("binding")
    package.__path__ = [str(BINDING)]
    sys.modules[package.__name__] = package
    return importlib.import_module("binding._tokenizer_abi")


abi = _load()
STATUS = {
    value: name.removeprefix("GOTONI_TOKENIZER_")
    for name, value in vars(abi).items()
    if name.startswith("GOTONI_TOKENIZER_E_")
}


class Refused(Exception):
    """A negative status. `status` is its name, such as E_UTF8."""

    def __init__(self, status: int, why: bytes | None = None) -> None:
        self.status = STATUS.get(status, str(status))
        super().__init__(f"{self.status}: {(why or abi.gotoni_tokenizer_status_text(status)).decode()}")


class Native:
    """One tokenizer. Any thread."""

    def __init__(self, data: bytes, format: int = 0, config: bytes | None = None, cache_bytes: int = 0) -> None:
        self.handle, why = c_void_p(), c_char_p()
        status = abi.gotoni_tokenizer_create(
            data, len(data), format, config, len(config or b""), cache_bytes, byref(self.handle), byref(why)
        )
        if status:
            assert not self.handle.value and why.value, "an error says why, and gives no tokenizer"
            raise Refused(status, why.value)
        assert self.handle.value and not why.value

    def __del__(self) -> None:
        abi.gotoni_tokenizer_destroy(self.handle)

    @classmethod
    def of(cls, path: pathlib.Path, *, config: bytes | None = None, cache_bytes: int = 0) -> Native:
        return cls(path.read_bytes(), format_of(path), config, cache_bytes)

    def encode(self, text: str | bytes, special: bool = False) -> array[int]:
        """The ids. Raises Refused, but never for E_BUFFER."""
        data = text.encode() if isinstance(text, str) else text
        ids = array("I", (0,)) * (len(data) + 64)
        status, count = self.call(data, int(special), ids.buffer_info()[0], len(ids))
        if status == abi.GOTONI_TOKENIZER_E_BUFFER:  # NFKC makes 33 bytes of 3
            ids = array("I", (0,)) * count
            status, count = self.call(data, int(special), ids.buffer_info()[0], len(ids))
        if status:
            raise Refused(status)
        del ids[count:]
        return ids

    def call(self, data: bytes | None, flags: int, ids: int | None, capacity: int, size: int = -1) -> tuple[int, int]:
        """The call as it is: the status and the count."""
        count = c_size_t(0)
        size = size if size >= 0 else len(data or b"")
        status = abi.gotoni_tokenizer_encode(self.handle, data, size, flags, ids, capacity, byref(count))
        return status, count.value


def format_of(path: pathlib.Path) -> int:
    if path.suffix == ".tiktoken":
        return abi.GOTONI_TOKENIZER_QWEN_TIKTOKEN
    return abi.GOTONI_TOKENIZER_TEKKEN if path.name == "tekken.json" else abi.GOTONI_TOKENIZER_HUGGING_FACE
