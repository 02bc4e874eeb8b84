"""Every kind of token list is accepted and means the same; memory that fits is read in place."""
import gc
import sys
from array import array
from ctypes import c_uint32
from typing import Any, Callable, Iterable

import numpy
import pytest

import gotoni
from gotoni import _inputs

TOKENS = [0, 1, 4_294_967_295] + list(range(1000, 1061))


class Tensor:
    """What torch and others offer: no buffer, but tolist()."""

    def __init__(self, values: list[int]) -> None:
        self.values = values

    def tolist(self) -> list[int]:
        return self.values


def read_only(values: Iterable[int]) -> Any:
    made = numpy.array(values, dtype=numpy.uint32)
    made.flags.writeable = False
    return made


IN_PLACE: dict[str, Callable[[list[int]], Any]] = {
    "array I": lambda values: array("I", values),
    "numpy uint32": lambda values: numpy.array(values, dtype=numpy.uint32),
    "read-only numpy": read_only,
    "memoryview of bytes": lambda values: memoryview(array("I", values).tobytes()).cast("I"),
    "slice of a memoryview": lambda values: memoryview(array("I", [7, *values, 7]))[1:-1],
    "ctypes array": lambda values: memoryview((c_uint32 * len(values))(*values)).cast("B").cast("I"),
}
CONVERTED: dict[str, Callable[[list[int]], Any]] = {
    "list": list,
    "tuple": tuple,
    "generator": lambda values: (value for value in values),
    "array Q": lambda values: array("Q", values),
    "numpy int64": lambda values: numpy.array(values, dtype=numpy.int64),
    "numpy uint64": lambda values: numpy.array(values, dtype=numpy.uint64),
    "big-endian numpy": lambda values: numpy.array(values, dtype=">u4"),
    "every second of a numpy array": lambda values: numpy.repeat(numpy.array(values, dtype=numpy.uint32), 2)[::2],
    "list of numpy integers": lambda values: list(numpy.array(values, dtype=numpy.uint32)),
    "tensor": Tensor,
    "misaligned memoryview": lambda values: memoryview(b"x" + array("I", values).tobytes())[1:].cast("I"),
}
EVERY_KIND = {**IN_PLACE, **CONVERTED}


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_of_tokens_is_the_same_prompt(router: gotoni.Router, kind: str) -> None:
    router.insert(2, TOKENS)
    assert router.match(EVERY_KIND[kind](TOKENS)) == [gotoni.Match(2, 64)]


@pytest.mark.parametrize("kind", EVERY_KIND)
def test_every_kind_may_be_empty(router: gotoni.Router, kind: str) -> None:
    assert router.match(EVERY_KIND[kind]([])) == []
    with router.route(EVERY_KIND[kind]([])) as ticket:
        assert ticket.prompt_tokens == 0


@pytest.mark.parametrize("kind", IN_PLACE)
def test_fitting_memory_is_lent_not_copied(kind: str) -> None:
    tokens = IN_PLACE[kind](TOKENS)
    made = _inputs.request(tokens)
    assert made.tokens == numpy.frombuffer(tokens, dtype=numpy.uint32).ctypes.data
    assert made.token_count == len(TOKENS)


def test_lent_memory_can_neither_move_nor_vanish_during_the_call() -> None:
    tokens = array("I", TOKENS)
    made = _inputs.request(tokens)
    with pytest.raises(BufferError):
        tokens.append(1)
    references = sys.getrefcount(tokens)
    del made
    gc.collect()
    assert sys.getrefcount(tokens) == references - 1
    tokens.append(1)


@pytest.mark.parametrize("tokens", [[-1], [2**32], numpy.array([-1]), numpy.array([2**32]), array("q", [-1])])
def test_a_token_that_does_not_fit_is_a_range_error(router: gotoni.Router, tokens: Any) -> None:
    with pytest.raises(gotoni.RangeError, match="token id is below 0 or above 4294967295"):
        router.route(tokens)


@pytest.mark.parametrize(
    ("tokens", "says"),
    [
        ("text", "tokenize"),
        (b"abcd", "Single bytes"),
        (bytearray(4), "Single bytes"),
        (numpy.zeros(4, dtype=numpy.uint8), "Single bytes"),
        ([1.5], "whole numbers"),
        (["1"], "whole numbers"),
        (numpy.array([1.0]), "whole numbers"),
        (numpy.zeros((2, 2), dtype=numpy.uint32), "one row"),
        (numpy.array(1, dtype=numpy.uint32), "one row"),
        (None, "one row"),
        (5, "one row"),
    ],
)
def test_what_is_no_list_of_tokens_is_a_type_error(router: gotoni.Router, tokens: Any, says: str) -> None:
    with pytest.raises(TypeError, match=says):
        router.route(tokens)


def test_integers_may_be_of_any_integer_type(router: gotoni.Router) -> None:
    router.add_server(numpy.int64(4))
    router.kv_stored(numpy.uint8(4), [numpy.int64(-1)], TOKENS[:16], numpy.int32(16), parent=None)
    assert router.match(TOKENS, namespace=numpy.uint64(0)) == [gotoni.Match(4, 16)]
    router.kv_removed(4, [2**64 - 1])
    with router.route(TOKENS, session=numpy.int64(-5), exclude=numpy.arange(4)) as ticket:
        assert ticket.server == 4
    with pytest.raises(TypeError):
        router.server(1.0)  # type: ignore[arg-type]


def test_keys_are_stable_and_depend_on_every_byte() -> None:
    assert gotoni.key("") == 0x2D06800538D394C2  # XXH3-64 of nothing, from its specification
    assert gotoni.key("session") == gotoni.key(b"session") != gotoni.key("session\0")


def test_namespaces_keep_their_parts_apart() -> None:
    assert gotoni.namespace("ab", "c") != gotoni.namespace("a", "bc")
    assert gotoni.namespace(model="m", adapter="a", salt="s") == gotoni.namespace(b"m", b"a", b"s")
    assert len({gotoni.namespace("x"), gotoni.namespace("", "x"), gotoni.namespace("", "", "x")}) == 3


def test_hashes_may_be_signed_unsigned_text_or_bytes() -> None:
    assert list(_inputs.keys([-1, 2**64 - 1, 5])) == [2**64 - 1, 2**64 - 1, 5]
    assert list(_inputs.keys([b"x" * 32, "x" * 32])) == [gotoni.key("x" * 32)] * 2
    for outside in (2**64, -(2**63) - 1):
        with pytest.raises(gotoni.RangeError, match="more than 64 bits"):
            _inputs.keys([outside])


@pytest.mark.parametrize("id", [-1, 2**64])
def test_no_number_is_cut_silently(router: gotoni.Router, id: int) -> None:
    for call in (
        lambda: router.add_server(id),
        lambda: router.server(id),
        lambda: router.route([1], exclude=[id]),
        lambda: router.route([1], namespace=id),
        lambda: router.route([1], now_ns=id),
        lambda: router.observe_metrics(1, queued_tokens=id),
        lambda: router.observe_others(1, queued_tokens=id),
        lambda: router.add_server(9, max_requests=id),
        lambda: gotoni.Router(block_tokens=2**32 + id),
    ):
        with pytest.raises(gotoni.RangeError):
            call()
