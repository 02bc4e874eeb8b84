"""What was found, as a table and as a document."""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence

from traffic import Seen


@dataclasses.dataclass(frozen=True)
class Finding:
    """`holds` is None where nothing is judged."""

    part: str
    what: str
    found: str
    holds: bool | None


class Findings:
    def __init__(self, facts: dict[str, Any]) -> None:
        self.facts = facts
        self.rows: list[Finding] = []
        self.requests: dict[str, list[Seen]] = {}

    def add(self, part: str, what: str, found: object, holds: bool | None = None) -> None:
        self.rows.append(Finding(part, what, str(found), holds))

    def judge(self, part: str, what: str, requests: Sequence[Seen], block: int, share: float | None) -> None:
        """At least `share` of the requests were predicted within a block of vLLM's; None: that is only told."""
        self.requests[f"{part}: {what}"] = list(requests)
        within = sum(each.is_within(block) for each in requests)
        off = [each.predicted - each.cached for each in requests]
        cached, tokens = sum(each.cached for each in requests), sum(each.engine_tokens for each in requests)
        found = (f"{within} of {len(requests)} ({within / len(requests):.1%}), off by {min(off):+} .. {max(off):+};"
                 f" {cached:,} of {tokens:,} tokens were cached")
        self.add(part, what, found, None if share is None else within >= share * len(requests))

    def holds(self) -> bool:
        return all(row.holds is not False for row in self.rows)

    def document(self) -> dict[str, Any]:
        requests = {name: [dataclasses.asdict(each) for each in found] for name, found in self.requests.items()}
        return {"facts": self.facts, "findings": [dataclasses.asdict(row) for row in self.rows], "requests": requests}

    def table(self) -> str:
        marks = {True: "yes", False: "NO", None: ""}
        lines = [", ".join(f"{name} {value}" for name, value in self.facts.items()), "", "| | | found | holds |", "|---|---|---|---|"]
        lines += [f"| {row.part} | {row.what} | {row.found} | {marks[row.holds]} |" for row in self.rows]
        return "\n".join(lines)
