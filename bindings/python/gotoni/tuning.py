"""Policies and knobs: what there is to choose and to turn."""
from ctypes import byref, c_double, c_uint32, sizeof
from typing import TYPE_CHECKING, Iterator, Mapping

from ._abi import (
    GOTONI_E_UNKNOWN_KNOB,
    gotoni_knob_from_name,
    gotoni_knob_get,
    gotoni_knob_info,
    gotoni_knob_info_get,
    gotoni_knob_set,
    gotoni_policy_from_name,
    gotoni_policy_name,
)
from .errors import RangeError, error_for
from .results import KnobInfo

if TYPE_CHECKING:
    from .router import Router


def policies() -> list[str]:
    """The names of all policies."""
    names: list[str] = []
    while name := gotoni_policy_name(len(names) + 1):
        names.append(name.decode())
    return names


def policy_number(name: str) -> int:
    number = c_uint32()
    if status := gotoni_policy_from_name(_encoded(name), byref(number)):
        raise error_for(status, f"{name!r} is none of the policies {', '.join(policies())}")
    return number.value


def _encoded(name: str) -> bytes:
    if not isinstance(name, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers need not be typed
        raise TypeError(f"a policy or knob is named by a string, not by {name!r}")
    return name.encode()


def knobs() -> dict[str, KnobInfo]:
    """Meaning, unit, default and bounds of every knob, by name."""
    found: dict[str, KnobInfo] = {}
    row = gotoni_knob_info(sizeof(gotoni_knob_info))
    while (status := gotoni_knob_info_get(len(found) + 1, row)) != GOTONI_E_UNKNOWN_KNOB:
        if status:
            raise error_for(status)
        info = KnobInfo.from_row(row)
        found[info.name] = info
    return found


class Knobs(Mapping[str, float]):
    """The knobs of one router: `router.knobs['ms_per_token'] = 0.1`."""

    def __init__(self, router: "Router") -> None:
        self._router = router

    def __getitem__(self, name: str) -> float:
        value = c_double()
        self._router._call(gotoni_knob_get, knob_number(name), byref(value))
        return value.value

    def __setitem__(self, name: str, value: float) -> None:
        try:
            self._router._call(gotoni_knob_set, knob_number(name), value)
        except RangeError as error:
            info = knobs()[name]
            bounds = f"{info.minimum:g} to {info.maximum:g} {info.unit}".rstrip()
            raise error_for(error.code, f"{name} must be {bounds}, not {value}") from None

    def __iter__(self) -> Iterator[str]:
        return iter(knobs())

    def __len__(self) -> int:
        return len(knobs())

    def __repr__(self) -> str:
        return f"Knobs({dict(self)})"


def knob_number(name: str) -> int:
    number = c_uint32()
    if status := gotoni_knob_from_name(_encoded(name), byref(number)):
        raise error_for(status, f"{name!r} is none of the knobs {', '.join(knobs())}")
    return number.value
