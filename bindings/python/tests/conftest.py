import os
import pathlib
from typing import Iterator

import pytest

PACKAGE_ROOT = pathlib.Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE_ROOT.parents[1]
HEADER = REPOSITORY / "include" / "gotoni.h"
LIBRARY = pathlib.Path(os.environ.get("GOTONI_LIBRARY") or REPOSITORY / "build/lib/libgotoni.so.0").resolve()

# An absolute path, because some tests run programs in other folders.
os.environ["GOTONI_LIBRARY"] = str(LIBRARY)
os.environ["PYTHONPATH"] = str(PACKAGE_ROOT)

import gotoni  # noqa: E402  # it loads the library just named


class Clock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.ns = 1_000_000_000

    def __call__(self) -> int:
        return self.ns

    def advance_ms(self, ms: float) -> None:
        self.ns += round(ms * 1e6)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def empty(clock: Clock) -> Iterator[gotoni.Router]:
    """A router without servers. Every test leaves it consistent."""
    with gotoni.Router(clock=clock) as router:
        yield router
        if not router.closed:
            router.check()


@pytest.fixture
def router(empty: gotoni.Router) -> gotoni.Router:
    """A router with the servers 1, 2 and 3, one ever farther away than the other."""
    for id, rtt_ms in ((1, 10), (2, 100), (3, 200)):
        empty.add_server(id)
        empty.observe_rtt(id, rtt_ms)
    return empty
