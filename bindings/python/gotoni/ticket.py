"""The receipt for one routed request."""
import warnings
from types import TracebackType
from typing import TYPE_CHECKING, Optional

from ._abi import (
    GOTONI_E_ARGUMENT,
    gotoni_commit,
    gotoni_decision,
    gotoni_finish,
    gotoni_first_token,
    gotoni_observe_cached_tokens,
    gotoni_observe_output_tokens,
    gotoni_progress,
)
from ._inputs import u64
from .errors import ArgumentError, GotoniError
from .results import OUTCOMES, Decision, Outcome

if TYPE_CHECKING:
    from .router import Router


class Ticket(Decision):
    """A decision that holds a place on a server until it is finished.

        with router.route(tokens) as ticket:      # entering commits: the request is being sent
            ...                                   # send it to ticket.server
            ticket.first_token()                  # when the answer begins
                                                  # leaving finishes: ok, failed or cancelled

    `async with` does the same. Leaving by an ordinary exception finishes as 'failed'; by one that is not an
    error, such as asyncio.CancelledError, GeneratorExit or KeyboardInterrupt, as 'cancelled'.
    """

    __slots__ = ("__weakref__", "_finished", "_router")

    def __init__(self, router: "Router", row: gotoni_decision) -> None:
        self._row = row
        self._router = router
        self._finished = False

    @property
    def id(self) -> int:
        return self._row.ticket

    def commit(self, *, now_ns: Optional[int] = None) -> None:
        """The request is being sent: its prompt is from now on expected in that server's cache."""
        self._router._call(gotoni_commit, self._row.ticket, self._router._now(now_ns))

    def first_token(self, *, now_ns: Optional[int] = None) -> None:
        """The first token of the answer arrived."""
        self._router._call(gotoni_first_token, self._row.ticket, self._router._now(now_ns))

    def progress(self, *, now_ns: Optional[int] = None) -> None:
        """The answer is still streaming: call it now and then on long ones, each chunk is fine."""
        self._router._call(gotoni_progress, self._row.ticket, self._router._now(now_ns))

    def observe_cached_tokens(self, cached_tokens: int, *, now_ns: Optional[int] = None) -> None:
        """How many prompt tokens the engine reported as cached. Call it before finish."""
        count = u64(cached_tokens, "cached_tokens")
        self._router._call(gotoni_observe_cached_tokens, self._row.ticket, count, self._router._now(now_ns))

    def observe_output_tokens(self, output_tokens: int, *, now_ns: Optional[int] = None) -> None:
        """How many tokens the answer has. Call it before finish."""
        count = u64(output_tokens, "output_tokens")
        self._router._call(gotoni_observe_output_tokens, self._row.ticket, count, self._router._now(now_ns))

    def finish(self, outcome: Outcome = "ok", *, now_ns: Optional[int] = None) -> None:
        """The request ended: 'ok', 'failed', 'cancelled' or 'not_sent'. A second call changes nothing."""
        if outcome not in OUTCOMES:
            raise ArgumentError(GOTONI_E_ARGUMENT, f"The outcome {outcome!r} is none of {', '.join(OUTCOMES)}.")
        now_ns = self._router._now(now_ns)
        self._router._call(gotoni_finish, self._row.ticket, OUTCOMES.index(outcome), now_ns)
        self._finished = True

    def __enter__(self) -> "Ticket":
        self.commit()
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        if kind is None:
            self.finish("ok")
        else:
            self.finish("failed" if issubclass(kind, Exception) else "cancelled")

    async def __aenter__(self) -> "Ticket":
        return self.__enter__()

    async def __aexit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.__exit__(kind, error, trace)

    def __del__(self) -> None:
        if self._finished or self._router.closed:
            return
        try:
            self.finish("cancelled")
        except GotoniError:
            return  # the router was closed meanwhile: its tickets are gone
        warnings.warn(f"{self!r} was never finished", ResourceWarning, source=self)
