"""The tuner of a router: better weights of its policy, looked for while requests are served."""
from collections.abc import Iterable
from ctypes import sizeof
from typing import TYPE_CHECKING

from ._abi import (
    gotoni_tune_follow,
    gotoni_tune_freeze,
    gotoni_tune_rollback,
    gotoni_tune_start,
    gotoni_tune_status,
    gotoni_tuned_weight,
    gotoni_tuner_status,
)
from .results import TunedWeight, TunerStatus
from .tuning import knob_number

if TYPE_CHECKING:
    from .router import Router


class Tuner:
    """`router.tuner.start()` looks for better weights of the policies gorgo and predictive, without serving worse.

    It learns from `Ticket.first_token`, `Ticket.observe_output_tokens` and how tickets end. Only `start` and `follow` can fail."""

    def __init__(self, router: "Router") -> None:
        self._router = router

    def start(self, *, first_token_limit_ms: float = 2000.0, inter_token_limit_ms: float = 100.0) -> None:
        """Begins, or goes on after `freeze`. The limits say what a good request keeps within."""
        self._router._call(gotoni_tune_start, first_token_limit_ms, inter_token_limit_ms)

    def follow(
        self,
        weights: Iterable[TunedWeight],
        *,
        first_token_limit_ms: float = 2000.0,
        inter_token_limit_ms: float = 100.0,
    ) -> None:
        """Serves with what another router's tuner has found (its `weights()`), and tries nothing here.

        Until `start`, which goes on from there, `rollback`, or a weight or the policy is set."""
        size = sizeof(gotoni_tuned_weight)
        rows = [(size, knob_number(each.knob), each.home, each.incumbent, each.trial) for each in weights]
        array = (gotoni_tuned_weight * len(rows))(*rows)
        self._router._call(gotoni_tune_follow, first_token_limit_ms, inter_token_limit_ms, array, len(rows))

    def freeze(self) -> None:
        """Keeps the weights of now until `start`."""
        self._router._call(gotoni_tune_freeze)

    def rollback(self) -> None:
        """Back to the weights that were set, until `start`."""
        self._router._call(gotoni_tune_rollback)

    def status(self) -> TunerStatus:
        """What it does, and what it has found."""
        row = gotoni_tuner_status(sizeof(gotoni_tuner_status))
        self._router._call(gotoni_tune_status, row)
        return TunerStatus.from_row(row)

    def weights(self) -> list[TunedWeight]:
        """The weights that are tuned; none while the tuner is off."""
        return self._router._tuned_weights()
