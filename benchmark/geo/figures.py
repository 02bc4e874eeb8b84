"""Counts and times since the proxy began, or since they were last reset."""

from __future__ import annotations

import collections
import dataclasses
import pathlib
import sys
from typing import Any

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from record import Record  # noqa: E402
from statistics_of import percentile  # noqa: E402

WINDOW = 4096  # times of each node that percentiles are taken of: the latest


@dataclasses.dataclass
class NodeFigures:
    """Of one node. Tokens are sums."""

    requests: int = 0
    errors: int = 0
    cancelled: int = 0
    connections_opened: int = 0
    prompt_tokens: int = 0
    matched_tokens: int = 0
    reported_prompt_tokens: int = 0
    cached_tokens: int = 0
    ttft_ms: collections.deque[float] = dataclasses.field(default_factory=lambda: collections.deque(maxlen=WINDOW))

    def fields(self, in_flight: int) -> dict[str, Any]:
        return {
            "requests": self.requests,
            "errors": self.errors,
            "cancelled": self.cancelled,
            "in_flight": in_flight,
            "connections_opened": self.connections_opened,
            "ttft_ms": {f"p{percent}": self._ttft(percent) for percent in (50, 90, 99)},
            "prompt_tokens": self.prompt_tokens,
            "matched_tokens": self.matched_tokens,
            "reported_prompt_tokens": self.reported_prompt_tokens,
            "cached_tokens": self.cached_tokens,
        }

    def _ttft(self, percent: float) -> float | None:
        return round(percentile(self.ttft_ms, percent), 3) if self.ttft_ms else None


class Figures:
    """Requests count when they end; in flight are those that have not."""

    def __init__(self, names: list[str]) -> None:
        self.in_flight = dict.fromkeys(names, 0)
        self.reset()

    def reset(self) -> None:
        """All but what is in flight."""
        self.nodes = {name: NodeFigures() for name in self.in_flight}
        self.found = 0
        self.missed = 0
        self.refused = 0

    def begin(self, record: Record) -> None:
        self.in_flight[record.node.name] += 1

    def end(self, record: Record, outcome: str) -> None:
        self.in_flight[record.node.name] -= 1
        node = self.nodes[record.node.name]
        node.requests += 1
        node.cancelled += outcome == "cancelled"
        node.errors += outcome in ("failed", "not_sent")
        node.connections_opened += record.new_connection
        node.prompt_tokens += record.prompt_tokens
        node.matched_tokens += record.matched_tokens or 0
        if record.usage.prompt_tokens is not None and record.usage.cached_tokens is not None:
            node.reported_prompt_tokens += record.usage.prompt_tokens
            node.cached_tokens += record.usage.cached_tokens
        if outcome == "ok" and record.ttft_ms is not None:
            node.ttft_ms.append(record.ttft_ms)
        self.found += record.known
        self.missed += not record.known

    def fields(self) -> dict[str, Any]:
        """For GET /stats."""
        nodes = self.nodes.values()
        reported = sum(node.reported_prompt_tokens for node in nodes)
        cached = sum(node.cached_tokens for node in nodes)
        return {
            "requests": sum(node.requests for node in nodes),
            "errors": sum(node.errors for node in nodes),
            "cancelled": sum(node.cancelled for node in nodes),
            "refused": self.refused,
            "in_flight": sum(self.in_flight.values()),
            "lookups_found": self.found,
            "lookups_missed": self.missed,
            "hit_share": round(cached / reported, 6) if reported else None,
            "nodes": {name: node.fields(self.in_flight[name]) for name, node in self.nodes.items()},
        }
