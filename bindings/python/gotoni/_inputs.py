"""What callers pass, turned into what C takes: checked integers, 64-bit keys and lent memory."""
from array import array
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_int,
    c_ssize_t,
    c_void_p,
    py_object,
    pythonapi,
    sizeof,
)
from operator import index
from typing import Any, Iterable, Optional, Union

from ._abi import GOTONI_E_RANGE, gotoni_key, gotoni_namespace_key, gotoni_request
from .errors import RangeError

Tokens = Iterable[int]
"""A prompt as token ids. Not copied where it already is contiguous memory of 32-bit unsigned integers, such
as array('I'), a numpy uint32 array or memoryview(...).cast('I'); anything else is converted."""

Key = Union[int, str, bytes]
"""A 64-bit key (signed or unsigned), or text or bytes to make one of."""

_MAX_U32 = 0xFFFF_FFFF
_MAX_U64 = 0xFFFF_FFFF_FFFF_FFFF


def u32(value: int, what: str) -> int:
    """`value` as an integer, checked: ctypes itself would cut it silently."""
    number = index(value)
    if 0 <= number <= _MAX_U32:
        return number
    raise RangeError(GOTONI_E_RANGE, f"{what} is {value}: it must be from 0 to {_MAX_U32}.")


def u64(value: int, what: str) -> int:
    """`value` as an integer, checked: ctypes itself would cut it silently."""
    number = index(value)
    if 0 <= number <= _MAX_U64:
        return number
    raise RangeError(GOTONI_E_RANGE, f"{what} is {value}: it must be from 0 to {_MAX_U64}.")


def key(value: Union[str, bytes]) -> int:
    """A 64-bit key for a session id, a user id, an engine's block hash: the same on every machine."""
    data = _bytes(value)
    return gotoni_key(data, len(data))


def namespace(model: Union[str, bytes] = "", adapter: Union[str, bytes] = "", salt: Union[str, bytes] = "") -> int:
    """The namespace of a prompt: requests share cached blocks only if model, adapter and salt are equal."""
    parts = [_bytes(part) for part in (model, adapter, salt)]
    return gotoni_namespace_key(*(item for part in parts for item in (part, len(part))))


def as_key(value: Key) -> int:
    if isinstance(value, (str, bytes)):
        return key(value)
    number = index(value)
    if -(1 << 63) <= number <= _MAX_U64:
        return number & _MAX_U64
    raise RangeError(GOTONI_E_RANGE, f"The key {value} has more than 64 bits.")


def _bytes(value: Union[str, bytes]) -> bytes:
    return value.encode() if isinstance(value, str) else value


# ===== Lent memory


class _PyBuffer(Structure):
    """Py_buffer of CPython: the only way to the address of read-only memory without a copy."""

    _fields_ = [
        ("buf", c_void_p),
        ("obj", c_void_p),
        ("len", c_ssize_t),
        ("itemsize", c_ssize_t),
        ("readonly", c_int),
        ("ndim", c_int),
        ("format", c_char_p),
        ("shape", c_void_p),
        ("strides", c_void_p),
        ("suboffsets", c_void_p),
        ("internal", c_void_p),
    ]


_get_buffer = pythonapi.PyObject_GetBuffer
_get_buffer.argtypes = [py_object, POINTER(_PyBuffer), c_int]
_release_buffer = pythonapi.PyBuffer_Release
_release_buffer.argtypes = [POINTER(_PyBuffer)]
_release_buffer.restype = None
_PyBUF_SIMPLE = 0


def address(view: memoryview) -> Optional[int]:
    """Where the contiguous memory of `view` begins. It stays there as long as `view` lives."""
    buffer = _PyBuffer()
    _get_buffer(view, buffer, _PyBUF_SIMPLE)
    start: Optional[int] = buffer.buf
    _release_buffer(buffer)
    return start


def array_address(values: "array[int]") -> Optional[int]:
    """Where the array begins. CPython puts an empty one at any odd place, so that one begins nowhere."""
    return values.buffer_info()[0] if values else None


_U32_FORMATS = frozenset(code for code in "IL" if array(code).itemsize == 4)


def lend(tokens: Tokens) -> tuple[memoryview, Optional[int]]:
    """The tokens as C reads them, and their address: the caller's own memory where possible."""
    view = _token_view(tokens)
    start = address(view)
    if start is not None and start % 4:  # C may read integers at multiples of their size only
        copied = array("I", view)
        return memoryview(copied), array_address(copied)
    return view, start


def _token_view(tokens: Tokens) -> memoryview:
    try:
        view = memoryview(tokens)  # type: ignore[arg-type]  # what is no buffer is converted below
    except TypeError:
        return memoryview(_converted(tokens))
    if view.format in _U32_FORMATS and view.ndim == 1 and view.c_contiguous:
        return view
    if view.itemsize == 1:
        raise TypeError("Single bytes are no token ids: use memoryview(data).cast('I'), or list(data) if they are.")
    return memoryview(_converted(tokens))


def _converted(tokens: Any) -> "array[int]":
    if isinstance(tokens, str):
        raise TypeError("Text is no list of token ids: tokenize it first.")
    values = tokens.tolist() if hasattr(tokens, "tolist") else tokens  # numpy, torch: much faster than iterating
    try:
        return array("I", values)
    except OverflowError:
        raise RangeError(GOTONI_E_RANGE, f"A token id is below 0 or above {_MAX_U32}.") from None
    except TypeError as error:
        raise TypeError(f"Tokens must be one row of whole numbers: {error}.") from None


_REQUEST_SIZE = sizeof(gotoni_request)


def request(
    tokens: Tokens, namespace: int = 0, session: Optional[Key] = None, exclude: Optional[Iterable[int]] = None
) -> gotoni_request:
    """A C request that keeps alive the memory it points to."""
    view, start = lend(tokens)
    made = gotoni_request(
        _REQUEST_SIZE,
        0,
        start,
        len(view),
        u64(namespace, "The namespace"),
        0 if session is None else as_key(session),
    )
    made.lent = view
    if exclude is not None:
        ids = array("Q", [u64(id, "A server id") for id in exclude])
        made.exclude, made.exclude_count = array_address(ids), len(ids)
        made.lent = (view, ids)
    return made


def keys(values: Iterable[Key]) -> "array[int]":
    """Block hashes as an engine writes them."""
    return array("Q", [as_key(value) for value in values])
