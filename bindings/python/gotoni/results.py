"""What the router tells: plain values, copied out of the library. Times are ns as integers, ms as floats."""
from ctypes import Structure, sizeof
from dataclasses import dataclass, fields
from typing import Any, Literal, NamedTuple, Optional, TypeVar, get_args

from ._abi import (
    gotoni_candidate,
    gotoni_decision,
    gotoni_knob_info,
    gotoni_knob_info_get,
    gotoni_policy_name,
    gotoni_server_info,
    gotoni_tuned_weight,
    gotoni_tuner_status,
)

State = Literal["up", "draining", "down"]
Verdict = Literal["eligible", "not_up", "at_limit", "excluded"]
Reason = Literal["policy", "no_match", "no_session"]
Outcome = Literal["ok", "failed", "cancelled", "not_sent"]

# The C numbers count from 0 in the order of the words.
STATES: tuple[State, ...] = get_args(State)
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
REASONS: tuple[Reason, ...] = get_args(Reason)
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)

_Result = TypeVar("_Result")


def read(kind: type[_Result], row: Structure, **translated: Any) -> _Result:
    """A `kind` with the fields of the same name in `row`, except those already translated."""
    names = [field.name for field in fields(kind)]  # type: ignore[arg-type]  # every kind is a dataclass
    return kind(**{name: translated[name] if name in translated else getattr(row, name) for name in names})


class _Milliseconds:
    """Reads a field that holds nanoseconds."""

    def __init__(self, field: str) -> None:
        self._field = field
        self.__doc__ = f"{field} in milliseconds."

    def __get__(self, instance: object, owner: type) -> float:
        return getattr(instance, self._field) / 1e6


class Decision:
    """Which server was chosen for a prompt, and at what cost. Immutable."""

    __slots__ = ("_row",)

    def __init__(self, row: gotoni_decision) -> None:
        self._row = row  # read on demand: most callers look at the server only

    @property
    def server(self) -> int:
        """The id of the chosen server."""
        return self._row.server

    @property
    def prompt_tokens(self) -> int:
        return self._row.prompt_tokens

    @property
    def matched_tokens(self) -> int:
        """How many of the prompt's tokens are believed to be cached on the chosen server."""
        return self._row.matched_tokens

    @property
    def cost_ns(self) -> int:
        """The GORGO cost of the chosen server, whatever the policy: the sum of the next four."""
        return self._row.cost_ns

    @property
    def rtt_cost_ns(self) -> int:
        """The weighted round trip time."""
        return self._row.rtt_cost_ns

    @property
    def prefill_cost_ns(self) -> int:
        """Computing the tokens that are not cached."""
        return self._row.prefill_cost_ns

    @property
    def queued_cost_ns(self) -> int:
        """Waiting for what is queued there."""
        return self._row.queued_cost_ns

    @property
    def running_cost_ns(self) -> int:
        """Sharing the server with what runs there."""
        return self._row.running_cost_ns

    @property
    def predicted_first_token_ns(self) -> int:
        """When the first token is expected from the chosen server, after now."""
        return self._row.predicted_first_token_ns

    @property
    def predicted_last_token_ns(self) -> int:
        """The same of the last token of an answer of mean length."""
        return self._row.predicted_last_token_ns

    @property
    def predicted_cost_ns(self) -> int:
        """What the policy predictive compares."""
        return self._row.predicted_cost_ns

    predicted_first_token_ms = _Milliseconds("predicted_first_token_ns")
    predicted_last_token_ms = _Milliseconds("predicted_last_token_ns")
    cost_ms = _Milliseconds("cost_ns")
    rtt_cost_ms = _Milliseconds("rtt_cost_ns")
    prefill_cost_ms = _Milliseconds("prefill_cost_ns")
    queued_cost_ms = _Milliseconds("queued_cost_ns")
    running_cost_ms = _Milliseconds("running_cost_ns")

    @property
    def policy(self) -> str:
        """The policy in force."""
        return gotoni_policy_name(self._row.policy).decode()

    @property
    def reason(self) -> Reason:
        """'policy' if that policy chose; 'no_match' or 'no_session' if it had nothing to go by."""
        return REASONS[self._row.reason]

    @property
    def eligible(self) -> int:
        """How many servers could have been chosen."""
        return self._row.eligible

    @property
    def trial(self) -> bool:
        """The tuner decided with weights that are on trial."""
        return bool(self._row.trial)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} server={self.server} matched={self.matched_tokens}/{self.prompt_tokens} "
            f"cost={self.cost_ms:.3f}ms>"
        )


@dataclass(frozen=True)
class Candidate:
    """One row of the table behind a decision. Loads include what the servers' metrics report."""

    server: int
    verdict: Verdict
    """'eligible', or why not."""
    chosen: bool
    matched_tokens: int
    uncached_tokens: int
    queued_requests: int
    running_requests: int
    queued_tokens: int
    running_tokens: int
    rtt_ns: Optional[int]
    """None: never observed, the cost uses the knob rtt_prior_ms."""
    cost_ns: int
    """The sum of the next four."""
    rtt_cost_ns: int
    prefill_cost_ns: int
    queued_cost_ns: int
    running_cost_ns: int
    metrics_known: bool
    """False: foreign load is priced by the mean of the servers that report theirs."""
    owed_tokens: int
    """Of the queued tokens, those not believed cached: prefill still to be done."""
    evicted_tokens: int
    """What this prompt would drive out of a cache that is full."""
    predicted_network_ns: int
    """What the policy predictive expects: this and the next three add up to the first token."""
    predicted_upload_ns: int
    predicted_wait_ns: int
    predicted_prefill_ns: int
    predicted_decode_ns: int
    """From the first token of an answer of mean length to its last."""
    predicted_others_ns: int
    """By how much it delays others, summed over them."""
    predicted_doubt_ns: int
    """By how much all this may be off because few answers were seen."""
    predicted_cost_ns: int
    """What predictive compares."""

    cost_ms = _Milliseconds("cost_ns")
    rtt_cost_ms = _Milliseconds("rtt_cost_ns")
    prefill_cost_ms = _Milliseconds("prefill_cost_ns")
    queued_cost_ms = _Milliseconds("queued_cost_ns")
    running_cost_ms = _Milliseconds("running_cost_ns")

    @property
    def rtt_ms(self) -> Optional[float]:
        return None if self.rtt_ns is None else self.rtt_ns / 1e6

    @classmethod
    def from_row(cls, row: gotoni_candidate) -> "Candidate":
        return read(
            cls,
            row,
            verdict=VERDICTS[row.verdict],
            chosen=bool(row.chosen),
            rtt_ns=_known(row.rtt_ns),
            metrics_known=bool(row.metrics_known),
        )


@dataclass(frozen=True)
class ServerInfo:
    """What is known about one server."""

    id: int
    state: State
    max_requests: int
    """0: no limit."""
    kv_capacity_tokens: int
    held_tokens: int
    """Tokens of prefixes believed to be cached there."""
    rtt_ns: Optional[int]
    """None: never observed."""
    queued_requests: int
    running_requests: int
    queued_tokens: int
    running_tokens: int
    metrics_known: bool
    """Whether a fresh observation of its metrics exists."""
    foreign_queued_requests: int
    """What other routers say of themselves, and what metrics report beyond it and our own tickets, as the next three."""
    foreign_running_requests: int
    foreign_queued_tokens: int
    foreign_running_tokens: int
    predicted_cached_tokens: int
    """Over the requests with a report: what the router believed to be cached ..."""
    reported_cached_tokens: int
    """... and what the engine said was."""
    parity_reports: int
    kv_blocks_stored: int
    kv_blocks_removed: int
    kv_blocks_orphaned: int
    owed_tokens: int
    """Of the queued tokens, those not believed cached: prefill still to be done."""
    predictions: int
    """First tokens that were compared with what was predicted."""
    prediction_bias_ms: float
    """Observed less predicted, the mean of the last 200; and its mean size."""
    prediction_error_ms: float
    overhead_ms: float
    """Learned from its answers, as all that follows: of every request, besides its round trip."""
    prefill_ms_per_token: float
    reading_ms_per_token: float
    """Of the whole prompt, cached or not."""
    upload_round_trips: float
    """Of the round trips that a long prompt needs on an idle connection, the share taken."""
    decode_ms: float
    """Of a whole answer of mean length alone, from its first token on; and what each request beside it adds."""
    decode_ms_per_request: float

    @property
    def rtt_ms(self) -> Optional[float]:
        return None if self.rtt_ns is None else self.rtt_ns / 1e6

    @classmethod
    def from_row(cls, row: gotoni_server_info) -> "ServerInfo":
        return read(
            cls,
            row,
            state=STATES[row.state],
            rtt_ns=_known(row.rtt_ns),
            metrics_known=bool(row.metrics_known),
        )


class Match(NamedTuple):
    """A server that holds the first `tokens` tokens of a prompt."""

    server: int
    tokens: int


@dataclass(frozen=True)
class PrefixStats:
    """The shape of the prefix trie. Lengths and depths are in tokens."""

    nodes: int
    leaves: int
    max_depth: int
    avg_depth: float
    avg_branching: float
    avg_prefix_length: float
    total_server_refs: int
    unique_servers: int
    held_tokens: int
    bytes: int
    budget_bytes: int


@dataclass(frozen=True)
class Stats:
    """Counters since the router was made, and a few present values."""

    servers: int
    open_tickets: int
    routed: int
    refused: int
    committed: int
    finished_ok: int
    finished_failed: int
    finished_cancelled: int
    finished_not_sent: int
    expired: int
    orphaned: int
    prompt_tokens: int
    matched_tokens: int
    evicted_tokens_capacity: int
    evicted_tokens_budget: int
    truncated_inserts: int
    bytes: int
    budget_bytes: int
    random_draws: int


@dataclass(frozen=True)
class KnobInfo:
    """What one knob means and may be set to."""

    name: str
    unit: str
    meaning: str
    default_value: float
    minimum: float
    maximum: float

    @classmethod
    def from_row(cls, row: gotoni_knob_info) -> "KnobInfo":
        return read(cls, row, name=row.name.decode(), unit=row.unit.decode(), meaning=row.meaning.decode())


TunerPhase = Literal["off", "warming", "comparing", "confirming", "checking", "resting", "frozen", "following"]
TUNER_PHASES: tuple[TunerPhase, ...] = get_args(TunerPhase)


@dataclass(frozen=True)
class TunerStatus:
    """What the tuner does, and what it has found."""

    phase: TunerPhase
    first_token_limit_ms: float
    inter_token_limit_ms: float
    requests: int
    """Sent, and ended, since the start."""
    ended: int
    proposed: int
    accepted: int
    rejected: int
    undecided: int
    rolled_back: int
    went_home: int
    goodput: float
    """Mean score of the last thousand requests, 0 to 1."""
    spent: float
    """What trials have cost, in requests that would have been good; below 0: gained."""
    rounds: int
    """Of the test that runs."""
    difference: float
    """By which the trial is ahead in it, in goodput."""

    @classmethod
    def from_row(cls, row: gotoni_tuner_status) -> "TunerStatus":
        return read(cls, row, phase=TUNER_PHASES[row.phase])


@dataclass(frozen=True)
class TunedWeight:
    """A weight as it was set, as the incumbent has it, and on trial."""

    knob: str
    home: float
    incumbent: float
    trial: float

    @classmethod
    def from_row(cls, row: gotoni_tuned_weight) -> "TunedWeight":
        info = gotoni_knob_info(sizeof(gotoni_knob_info))
        gotoni_knob_info_get(row.knob, info)
        return read(cls, row, knob=info.name.decode())


def _known(rtt_ns: int) -> Optional[int]:
    return None if rtt_ns < 0 else rtt_ns
