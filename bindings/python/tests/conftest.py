import os
import pathlib
from typing import Iterator

import pytest

PACKAGE_ROOT = pathlib.Path(__file__).resolve().parents[1]
REPOSITORY = PACKAGE_ROOT.parents[1]
HEADER = REPOSITORY / "include" / "gotoni.h"
TOKENIZER_HEADER = REPOSITORY / "include" / "gotoni_tokenizer.h"
LIBRARY = pathlib.Path(os.environ.get("GOTONI_LIBRARY") or REPOSITORY / "build/lib/libgotoni.so.0").resolve()
TOKENIZER_LIBRARY = pathlib.Path(
    os.environ.get("GOTONI_TOKENIZER_LIBRARY") or REPOSITORY / "build/lib/libgotoni-tokenizer.so.0"
).resolve()

# Absolute paths, because some tests run programs in other folders.
os.environ["GOTONI_LIBRARY"] = str(LIBRARY)
os.environ["GOTONI_TOKENIZER_LIBRARY"] = str(TOKENIZER_LIBRARY)
os.environ["PYTHONPATH"] = str(PACKAGE_ROOT)

import gotoni  # noqa: E402  # it loads the library just named


needs_tokenizer = pytest.mark.skipif(not TOKENIZER_LIBRARY.exists(), reason=f"there is no {TOKENIZER_LIBRARY}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if not TOKENIZER_LIBRARY.exists():
        terminalreporter.write_line(f"THE TOKENIZER WAS NOT TESTED: there is no {TOKENIZER_LIBRARY}", red=True)


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
