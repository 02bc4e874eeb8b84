"""The C contract of the tokenizer's own library, mirrored: gotoni_tokenizer.h, in its order.

Importing this module loads the library; `tokenizer` does so when the first Tokenizer is made. Nothing here adds
meaning; a test compares every name, number and prototype with the header.
"""
from ctypes import POINTER, c_char_p, c_int32, c_size_t, c_uint32, c_uint64, c_void_p

from ._loading import functions_of, load

LIBRARY_NAME = "libgotoni-tokenizer.so.0"

_library = load(LIBRARY_NAME, "GOTONI_TOKENIZER_LIBRARY", "gotoni.Tokenizer")
_function = functions_of(_library, LIBRARY_NAME)


_tokenizer = c_void_p
_status = c_int32

GOTONI_TOKENIZER_OK = 0
GOTONI_TOKENIZER_E_FORMAT = -1
GOTONI_TOKENIZER_E_UNSUPPORTED = -2
GOTONI_TOKENIZER_E_UTF8 = -3
GOTONI_TOKENIZER_E_TOO_LONG = -4
GOTONI_TOKENIZER_E_PATTERN = -5
GOTONI_TOKENIZER_E_MEMORY = -6
GOTONI_TOKENIZER_E_ARGUMENT = -7
GOTONI_TOKENIZER_E_BUFFER = -8

gotoni_tokenizer_status_text = _function("gotoni_tokenizer_status_text", c_char_p, _status)

GOTONI_TOKENIZER_HUGGING_FACE = 0
GOTONI_TOKENIZER_TEKKEN = 1
GOTONI_TOKENIZER_QWEN_TIKTOKEN = 2

gotoni_tokenizer_create = _function(
    "gotoni_tokenizer_create",
    _status,
    c_char_p,
    c_size_t,
    c_int32,
    c_char_p,
    c_size_t,
    c_uint64,
    POINTER(_tokenizer),
    POINTER(c_char_p),
)
gotoni_tokenizer_destroy = _function("gotoni_tokenizer_destroy", None, _tokenizer)

GOTONI_TOKENIZER_ADD_SPECIAL_TOKENS = 1

gotoni_tokenizer_encode = _function(
    "gotoni_tokenizer_encode",
    _status,
    _tokenizer,
    c_char_p,
    c_size_t,
    c_uint32,
    c_void_p,
    c_size_t,
    POINTER(c_size_t),
)
gotoni_tokenizer_id = _function("gotoni_tokenizer_id", c_uint32, _tokenizer, c_char_p, c_size_t)
