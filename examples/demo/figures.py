"""From what was measured to what is said about it."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, Sequence

from play import Sample

# The most that the proxy's time to the first token may differ from its clients', at the median.
AGREEMENT_MS = 2.0


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of one policy."""

    policy: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    mean_ms: float
    hit_share: float  # of all prompt tokens
    regions: dict[str, float]  # share of requests
    late_p95_ms: float
    load: float  # of the machine, runnable processes over the last minute, when it ended


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The clients' times to the first token beside the proxy's own, request by request."""

    requests: int
    median_ms: float  # of the absolute differences
    p95_ms: float
    bias_ms: float  # the median of clients' minus proxy's


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank; not a number if there is no value."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def of_policy(
    policy: str, samples: Sequence[Sample], log: dict[str, dict[str, Any]], names: Sequence[str], load: float
) -> Figures:
    answers = [sample.answer for sample in samples if sample.answer]
    ttft = [answer.ttft_ms for answer in answers]
    prompt = sum(answer.prompt_tokens for answer in answers)
    servers = [log[sample.request_id]["selected_server_id"] for sample in samples if sample.request_id in log]
    return Figures(
        policy=policy,
        requests=len(samples),
        failures=len(samples) - len(answers),
        p50_ms=percentile(ttft, 50),
        p95_ms=percentile(ttft, 95),
        mean_ms=sum(ttft) / len(ttft) if ttft else math.nan,
        hit_share=sum(answer.cached_tokens for answer in answers) / prompt if prompt else math.nan,
        regions={name: servers.count(name) / max(len(servers), 1) for name in names},
        late_p95_ms=percentile([sample.late_ms for sample in samples], 95),
        load=load,
    )


def differences(samples: Sequence[Sample], log: dict[str, dict[str, Any]]) -> list[float]:
    """Clients' minus proxy's, of all requests that both saw answered."""
    found = []
    for sample in samples:
        row = log.get(sample.request_id)
        if sample.answer and row and row["ttft_ms"] is not None:
            found.append(sample.answer.ttft_ms - row["ttft_ms"])
    return found


def agreement(found: Sequence[float]) -> Agreement:
    absolute = [abs(value) for value in found]
    return Agreement(len(found), percentile(absolute, 50), percentile(absolute, 95), percentile(found, 50))


def missed(rows: Sequence[Figures], agreed: Agreement) -> list[str]:
    """What does not hold of what the demo promises: a sentence for each."""
    found = []
    by_name = {row.policy: row for row in rows}
    own = by_name.get("gorgo")
    for rival in ("least-load", "prefix-tree"):
        other = by_name.get(rival)
        if not own or not other:
            continue
        for name, mine, theirs in (("p50", own.p50_ms, other.p50_ms), ("p95", own.p95_ms, other.p95_ms)):
            if not mine < theirs:
                found.append(f"gorgo's TTFT {name} is {mine:.0f} ms and {rival}'s {theirs:.0f} ms")
    if not agreed.median_ms <= AGREEMENT_MS:
        found.append(f"proxy and clients differ by {agreed.median_ms:.2f} ms at the median, more than {AGREEMENT_MS:.0f} ms")
    return found


def table(rows: Sequence[Figures], names: Sequence[str]) -> str:
    head = ["policy", "requests", "TTFT p50", "p95", "mean ms", "cached", *names, "failed"]
    lines = [head]
    for row in rows:
        times = [f"{value:.0f}" for value in (row.p50_ms, row.p95_ms, row.mean_ms)]
        shares = [f"{100 * share:.0f} %" for share in (row.hit_share, *(row.regions[name] for name in names))]
        lines.append([row.policy, str(row.requests), *times, *shares, str(row.failures)])
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    text = []
    for line in lines:
        cells = [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:]))]
        text.append("  ".join(cells).rstrip())
    return "\n".join(text)
