"""From requests to figures, and from figures to what is promised about them."""

from __future__ import annotations

import dataclasses
import math
from typing import Mapping, Sequence

from play import Sample

# The most that the proxy's time to the first token may differ from its client's, at the median.
AGREEMENT_MS = 2.0
RIVALS = ("least-load", "prefix-tree")


@dataclasses.dataclass(frozen=True)
class Figures:
    """Of one policy. Times are milliseconds to the first token, as clients measured them."""

    policy: str
    requests: int
    failures: int
    p50_ms: float
    p95_ms: float
    mean_ms: float
    # What the mean is made of: the round trips to the servers chosen, the prefill of tokens they did not hold, and the
    # rest, which is waiting for others, and a few milliseconds of upload.
    distance_ms: float
    prefill_ms: float
    waiting_ms: float
    hit_share: float  # of all prompt tokens
    regions: dict[str, float]  # share of requests
    late_p95_ms: float


@dataclasses.dataclass(frozen=True)
class Agreement:
    """The clients' times to the first token beside the proxy's own, request by request."""

    requests: int
    median_ms: float  # of the absolute differences
    p95_ms: float
    over: int  # requests above AGREEMENT_MS
    bias_ms: float  # the median of clients' minus proxy's


def percentile(values: Sequence[float], percent: float) -> float:
    """The nearest rank; not a number if there is no value."""
    if not values:
        return math.nan
    return sorted(values)[max(math.ceil(len(values) * percent / 100) - 1, 0)]


def mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else math.nan


def of_policy(policy: str, samples: Sequence[Sample], rtt_ms: Mapping[str, float], ms_per_token: float) -> Figures:
    answers = [sample.answer for sample in samples if sample.answer]
    ttft = [answer.ttft_ms for answer in answers]
    prompt = sum(answer.prompt_tokens for answer in answers)
    cached = sum(answer.cached_tokens for answer in answers)
    servers = [sample.server for sample in samples if sample.answer and sample.server in rtt_ms]
    distance = mean([rtt_ms[server] for server in servers if server])
    prefill = mean([ms_per_token * (answer.prompt_tokens - answer.cached_tokens) for answer in answers])
    return Figures(
        policy=policy,
        requests=len(samples),
        failures=len(samples) - len(answers),
        p50_ms=percentile(ttft, 50),
        p95_ms=percentile(ttft, 95),
        mean_ms=mean(ttft),
        distance_ms=distance,
        prefill_ms=prefill,
        waiting_ms=mean(ttft) - distance - prefill,
        hit_share=cached / prompt if prompt else math.nan,
        regions={name: servers.count(name) / max(len(servers), 1) for name in rtt_ms},
        late_p95_ms=percentile([sample.late_ms for sample in samples], 95),
    )


def agreement(samples: Sequence[Sample]) -> Agreement:
    """Of all requests that both saw answered."""
    found = [
        sample.answer.ttft_ms - sample.proxy_ttft_ms
        for sample in samples
        if sample.answer and sample.proxy_ttft_ms is not None
    ]
    absolute = [abs(value) for value in found]
    over = sum(value > AGREEMENT_MS for value in absolute)
    return Agreement(len(found), percentile(absolute, 50), percentile(absolute, 95), over, percentile(found, 50))


def broken(rows: Sequence[Figures], agreed: Agreement) -> list[str]:
    """What does not work, whoever is faster: a sentence for each."""
    found = [f"{row.policy}: {row.failures} of {row.requests} requests failed" for row in rows if row.failures]
    seen = sum(row.requests - row.failures for row in rows)
    if agreed.requests != seen:
        found.append(f"the proxy's log has {agreed.requests} of {seen} answers")
    if not agreed.median_ms <= AGREEMENT_MS:
        found.append(f"proxy and clients differ by {agreed.median_ms:.2f} ms at the median, above {AGREEMENT_MS:g}")
    return found


def lost(rows: Sequence[Figures]) -> list[str]:
    """Where gorgo is not faster than a rival: a sentence for each."""
    by_name = {row.policy: row for row in rows}
    own = by_name["gorgo"]
    found = []
    for other in (by_name[rival] for rival in RIVALS):
        for name, mine, theirs in (("p50", own.p50_ms, other.p50_ms), ("p95", own.p95_ms, other.p95_ms)):
            if not mine < theirs:
                found.append(f"gorgo's TTFT {name} is {mine:.0f} ms and {other.policy}'s {theirs:.0f} ms")
    return found
