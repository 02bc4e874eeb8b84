"""The library's status codes as exceptions."""
from ._abi import (
    GOTONI_E_ARGUMENT,
    GOTONI_E_BLOCK_SIZE,
    GOTONI_E_CAPACITY,
    GOTONI_E_CORRUPT,
    GOTONI_E_UNTUNABLE,
    GOTONI_E_DUPLICATE_SERVER,
    GOTONI_E_MEMORY,
    GOTONI_E_NO_SERVER,
    GOTONI_E_RANGE,
    GOTONI_E_SATURATED,
    GOTONI_E_SNAPSHOT,
    GOTONI_E_SNAPSHOT_VERSION,
    GOTONI_E_TICKET,
    GOTONI_E_TICKET_ENDED,
    GOTONI_E_UNKNOWN_KNOB,
    GOTONI_E_UNKNOWN_PARENT,
    GOTONI_E_UNKNOWN_POLICY,
    GOTONI_E_UNKNOWN_SERVER,
    gotoni_status_text,
)


class GotoniError(Exception):
    """Anything that was refused. `code` is the library's status, `text` says it to people."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text

    def __str__(self) -> str:
        return self.text


class TokenizerError(GotoniError):
    """A vocabulary or text that the tokenizer refused. `code` is a status of gotoni_tokenizer.h."""


class ArgumentError(GotoniError, ValueError):
    """An argument has no meaning here, or the router is closed."""


class RangeError(GotoniError, ValueError):
    """A number is outside its bounds."""


class UnknownServerError(GotoniError, KeyError):
    """No server has this id."""


class DuplicateServerError(GotoniError):
    """A server with this id was added before."""


class NoServerError(GotoniError):
    """No server may take the request: none is up, or all are excluded."""


class SaturatedError(GotoniError):
    """Servers are up, but each is at its max_requests: wait, then try again."""


class CapacityError(GotoniError):
    """A bound the router was made with is reached."""


class TicketError(GotoniError):
    """The ticket was not issued by this router."""


class TicketEndedError(TicketError):
    """The ticket was finished, or expired after a long silence."""


class UnknownNameError(GotoniError, KeyError):
    """No policy or knob has this name."""


class BlockSizeError(GotoniError):
    """The engine's block size is no multiple of the router's block_tokens."""


class UnknownParentError(GotoniError):
    """A KV event continues a block never seen: events were lost, so clear the server and ask for a replay."""


class SnapshotError(GotoniError):
    """The bytes are no snapshot, were damaged, or are of another version or block size."""


class OutOfMemoryError(GotoniError, MemoryError):
    """The system gave no memory."""


class CorruptError(GotoniError):
    """`Router.check` found an inconsistency: a defect, please report it."""


class UntunableError(GotoniError):
    """The policy in force has no weights to tune, or all are 0."""


_CLASSES: dict[int, type[GotoniError]] = {
    GOTONI_E_ARGUMENT: ArgumentError,
    GOTONI_E_RANGE: RangeError,
    GOTONI_E_UNKNOWN_SERVER: UnknownServerError,
    GOTONI_E_DUPLICATE_SERVER: DuplicateServerError,
    GOTONI_E_NO_SERVER: NoServerError,
    GOTONI_E_SATURATED: SaturatedError,
    GOTONI_E_CAPACITY: CapacityError,
    GOTONI_E_TICKET: TicketError,
    GOTONI_E_TICKET_ENDED: TicketEndedError,
    GOTONI_E_UNKNOWN_POLICY: UnknownNameError,
    GOTONI_E_UNKNOWN_KNOB: UnknownNameError,
    GOTONI_E_BLOCK_SIZE: BlockSizeError,
    GOTONI_E_UNKNOWN_PARENT: UnknownParentError,
    GOTONI_E_SNAPSHOT: SnapshotError,
    GOTONI_E_SNAPSHOT_VERSION: SnapshotError,
    GOTONI_E_MEMORY: OutOfMemoryError,
    GOTONI_E_CORRUPT: CorruptError,
    GOTONI_E_UNTUNABLE: UntunableError,
}


def error_for(status: int, detail: str = "") -> GotoniError:
    """The exception for a negative status, in the library's words, or in `detail` where that says more."""
    return _CLASSES.get(status, GotoniError)(status, detail or gotoni_status_text(status).decode())
