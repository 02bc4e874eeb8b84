"""What goes wrong, in words for whoever caused it."""

from __future__ import annotations


class StartError(Exception):
    """What to tell the operator when the service cannot start."""


class RequestError(Exception):
    """What to tell a client: an HTTP status and a plain sentence."""

    KINDS = {404: "not_found", 405: "not_found", 413: "too_large", 500: "internal_error", 503: "overloaded"}

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status

    def document(self) -> dict[str, object]:
        return {"error": {"message": str(self), "type": self.KINDS.get(self.status, "invalid_request")}}
