"""The results of connections.py as tables in Markdown. Uploads are medians, in milliseconds."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from trials import AtOnce, Kernel, Learned, Results, Sample

FIRST_WINDOW_TOKENS = 2_920  # 10 segments of 1,460 bytes at 5 bytes a token: see Prediction.swift


def extra_round_trips(tokens: int) -> int:
    """As CandidateTable.extraRoundTrips in Prediction.swift counts them."""
    return (1 + tokens // FIRST_WINDOW_TOKENS).bit_length() - 1


def uploads(samples: Sequence[Sample]) -> dict[tuple[Kernel, str, float, int], float]:
    """Time to the first token less a round trip and less the same without distance, of what each prompt met."""
    times: dict[tuple[Kernel, str, float, int], list[float]] = {}
    for each in samples:
        times.setdefault((each.kernel, each.state, each.rtt_ms, each.tokens), []).append(each.ttft_ms)
    medians = {key: statistics.median(values) for key, values in times.items()}
    return {
        (kernel, state, rtt, tokens): median - rtt - medians[kernel, state, 0, tokens]
        for (kernel, state, rtt, tokens), median in medians.items() if rtt
    }


def tables(results: Results) -> str:
    sections = [
        ("Upload of a prompt on a connection of its own (ms), and the window of the longest (segments)", direct(results.direct)),
        ("Upload through gotoni-proxy on idle connections (ms), and what predictive makes of it",
         proxied(results.proxied, results.learned)),
        ("A short request while others stream, beyond a round trip (ms)", at_once(results.at_once)),
    ]
    return "\n\n".join(f"{title}:\n\n{table}" for title, table in sections)


def direct(samples: Sequence[Sample]) -> str:
    tokens = sorted({each.tokens for each in samples})
    found = uploads(samples)
    rows: list[list[str]] = []
    for kernel, state, rtt in unique((kernel, state, rtt) for kernel, state, rtt, _ in found):
        windows = [each.window for each in samples
                   if (each.kernel, each.state, each.rtt_ms, each.tokens) == (kernel, state, rtt, tokens[-1]) and each.window]
        rows.append([f"{rtt:g}", kernel.congestion, str(kernel.slow_start_after_idle), state,
                     *(f"{found[kernel, state, rtt, each]:.0f}" for each in tokens), f"{statistics.median(windows):.0f}"])
    rows.sort(key=lambda row: float(row[0]))
    head = ["RTT ms", "congestion", "slow start after idle", "connection", *(f"{each:,} tokens" for each in tokens), "window"]
    return markdown(head, rows, words=4)


def proxied(samples: Sequence[Sample], learned: Sequence[Learned]) -> str:
    tokens = sorted({each.tokens for each in samples})
    found = uploads(samples)
    rows: list[list[str]] = []
    for each in sorted(learned, key=lambda each: each.rtt_ms):
        name = [f"{each.rtt_ms:g}", each.kernel.congestion, str(each.kernel.slow_start_after_idle)]
        measured = [found[each.kernel, "proxied", each.rtt_ms, count] for count in tokens]
        predicted = [each.share * extra_round_trips(count) * each.rtt_ms + each.reading_ms_per_token * count
                     for count in tokens]
        rows.append([*name, "measured", *(f"{value:.0f}" for value in measured), "", ""])
        error = statistics.mean(abs(one - other) for one, other in zip(measured, predicted, strict=True))
        rows.append([*name, "predicted", *(f"{value:.0f}" for value in predicted), f"{each.share:.2f}", f"{error:.0f}"])
    head = ["RTT ms", "congestion", "slow start after idle", "", *(f"{each:,} tokens" for each in tokens),
            "learned share", "off by ms"]
    return markdown(head, rows, words=4)


def at_once(found: Sequence[AtOnce]) -> str:
    times = {(each.spares, each.rtt_ms, each.under_way): each.ttft_ms for each in found}
    under_way = sorted({each.under_way for each in found})
    rows = [
        [f"{rtt:g}", str(spares),
         *(f"{times[spares, rtt, each] - rtt - times[spares, 0, each]:.0f}" for each in under_way)]
        for spares, rtt in sorted({(each.spares, each.rtt_ms) for each in found if each.rtt_ms}, key=lambda key: key[::-1])
    ]
    return markdown(["RTT ms", "--upstream-spare", *(f"beside {each}" for each in under_way)], rows, words=2)


def unique(keys: Iterable[tuple[Kernel, str, float]]) -> list[tuple[Kernel, str, float]]:
    return list(dict.fromkeys(keys))


def markdown(head: Sequence[str], rows: Sequence[Sequence[str]], words: int) -> str:
    """The first `words` columns are words, the others numbers."""
    rule = ["---" if column < words else "--:" for column in range(len(head))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))
