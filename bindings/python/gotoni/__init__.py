"""gotoni: a router for LLM servers.

For every request it says which of your servers should get it, so that the user waits as little as possible
for the first token: it knows which server holds the cache of which prompt prefix, how far away each server
is, and how much work each one has.
"""
from ._abi import gotoni_version
from ._inputs import Key, Tokens, key, namespace
from .errors import (
    ArgumentError,
    BlockSizeError,
    CapacityError,
    CorruptError,
    DuplicateServerError,
    GotoniError,
    NoServerError,
    OutOfMemoryError,
    RangeError,
    SaturatedError,
    SnapshotError,
    TicketEndedError,
    TicketError,
    TokenizerError,
    UnknownNameError,
    UnknownParentError,
    UnknownServerError,
    UntunableError,
)
from .results import (
    Candidate,
    Decision,
    KnobInfo,
    Match,
    Outcome,
    PrefixStats,
    Reason,
    ServerInfo,
    State,
    Stats,
    TunedWeight,
    TunerStatus,
    Verdict,
)
from .router import Router
from .ticket import Ticket
from .tokenizer import Tokenizer
from .tuner import Tuner
from .tuning import Knobs, knobs, policies

__version__: str = gotoni_version().decode()
"""The version of the library that was loaded."""

__all__ = [
    "ArgumentError",
    "BlockSizeError",
    "Candidate",
    "CapacityError",
    "CorruptError",
    "Decision",
    "DuplicateServerError",
    "GotoniError",
    "Key",
    "KnobInfo",
    "Knobs",
    "Match",
    "NoServerError",
    "OutOfMemoryError",
    "Outcome",
    "PrefixStats",
    "RangeError",
    "Reason",
    "Router",
    "SaturatedError",
    "ServerInfo",
    "SnapshotError",
    "State",
    "Stats",
    "Ticket",
    "TicketEndedError",
    "TicketError",
    "Tokenizer",
    "TokenizerError",
    "Tokens",
    "TunedWeight",
    "Tuner",
    "TunerStatus",
    "UnknownNameError",
    "UnknownParentError",
    "UnknownServerError",
    "UntunableError",
    "Verdict",
    "key",
    "knobs",
    "namespace",
    "policies",
]
