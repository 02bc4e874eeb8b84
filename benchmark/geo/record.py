"""What is kept of each request, and the log file: one JSON object a line, and nothing else."""

from __future__ import annotations

import dataclasses
import datetime
import json
import logging
import time
from typing import IO, Any

from nodes import Node
from places import Place
from usage import Usage


@dataclasses.dataclass
class Record:
    """One request that was sent to a node. Times since the proxy had the request's head, in ms."""

    request_id: str
    key: str
    prompt_length: int
    place: Place
    known: bool
    router: str
    node: Node
    distance_km: float
    user_rtt_ms: float
    prompt_tokens: int
    cost_ms: float | None
    matched_tokens: int | None
    started: float
    ttft_ms: float | None = None
    total_ms: float = 0.0
    status: int | None = None
    error: str | None = None
    new_connection: bool = False
    usage: Usage = Usage()

    def elapsed_ms(self) -> float:
        return 1000 * (time.perf_counter() - self.started)

    def fields(self) -> dict[str, Any]:
        """As the log file has it."""
        return {
            "timestamp": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="milliseconds"),
            "request_id": self.request_id,
            "prompt_hash": self.key,
            "prompt_length": self.prompt_length,
            "user_location": self.place.fields(),
            "routed_to": self.node.name,
            "node_ip": self.node.host,
            "distance_km": round(self.distance_km, 1),
            "ttft_ms": _rounded(self.ttft_ms),
            "total_latency_ms": _rounded(self.total_ms),
            "status": self.status,
            "error": self.error,
            "router": self.router,
            "cost_ms": _rounded(self.cost_ms),
            "matched_tokens": self.matched_tokens,
            "prompt_tokens": self.prompt_tokens,
            "cached_tokens": self.usage.cached_tokens,
            "user_rtt_ms": _rounded(self.user_rtt_ms),
            "new_connection": self.new_connection,
        }


class Log:
    """Appends to a file. A full disk is said on stderr and stops no request."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, record: Record) -> None:
        try:
            self._file.write(json.dumps(record.fields()) + "\n")
            self._file.flush()
        except OSError as error:
            logging.error("the log file cannot be written: %s", error)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 3)
