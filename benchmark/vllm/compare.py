#!/usr/bin/env python3
"""Policies of gotoni-proxy before two vLLMs at different distances, on the same conversations: TTFT, and what was predicted of it.

    compare.py --rtt 2,80 --policies predictive gorgo least-load

Of each round every policy gets the same conversations, empty caches and a fresh proxy with KV events; the order is drawn. As many
conversations as --at-once go on at a time, so a slow answer delays what follows it. Times are the proxy's own, from a request's
arrival to the first byte of its answer. Two vLLMs on two cores share them with everything else here: what a first token costs is
real, and far from what a GPU takes.

Needs what check.py needs. Exit status: 0 done, 2 there is no result.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import random
import sys
import tempfile
from typing import TYPE_CHECKING, Sequence

if TYPE_CHECKING:
    from traffic import Seen

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"


def main() -> int:
    options = parse()
    try:
        import fleet  # noqa: F401, finds the modules of the neighbours too
        import shapes
        from processes import BenchError, end_on_signals, go_on_in_own_network
    except ImportError as error:
        print(f"vllm: {error}: pip install -r benchmark/real/requirements.txt", file=sys.stderr)
        return 2
    end_on_signals()
    try:
        for needed, target in ((options.gotoni_proxy, "bin"), (options.vllm_venv / "bin" / "python", "install-vllm")):
            if not needed.exists():
                raise BenchError(f"there is no {needed}: make {target}")
        folder = shapes.folder_of("full", BUILD / "vllm")
        go_on_in_own_network()
        with tempfile.TemporaryDirectory() as logs:
            results = measure(options, folder.resolve(), pathlib.Path(logs))
    except (BenchError, OSError) as error:
        print(f"vllm: {error}", file=sys.stderr)
        return 2
    if options.json is not None:
        found = {policy: [dataclasses.asdict(each) for each in seen] for policy, seen in results.items()}
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    print("| | requests | TTFT p50 ms | p90 | cached | nearest | predicted − found ms, p10 p50 p90 |\n|---|--:|--:|--:|--:|--:|--:|")
    for policy in options.policies:
        print(row(policy, results[policy]))
    return 0


def measure(options: argparse.Namespace, folder: pathlib.Path, logs: pathlib.Path) -> dict[str, list[Seen]]:
    import traffic
    from fleet import WITH_EVENTS, Proxy, Setting, running, until

    python = options.vllm_venv.absolute() / "bin" / "python"
    results: dict[str, list[Seen]] = {policy: [] for policy in options.policies}
    plan = traffic.Plan(groups=3, each=4, turns=4)
    with running(Setting(python, folder, options.blocks, logs), options.rtt) as engines:
        for number in range(options.rounds):
            for policy in random.Random(f"{options.seed} {number}").sample(options.policies, len(options.policies)):
                for each in engines:
                    each.empty()
                    each.step()
                proxy = Proxy(options.gotoni_proxy, engines, folder, logs / f"{policy}.log", "--policy", policy, *WITH_EVENTS)
                try:
                    until(proxy.follows, [proxy.program], "KV events in force")
                    conversations = traffic.draw(options.seed * 1000 + number, f"round{number}", plan)
                    results[policy] += traffic.converse(proxy, conversations, options.at_once)
                finally:
                    proxy.program.stop()
                print(f"- round {number + 1}: {row(policy, results[policy])}", file=sys.stderr, flush=True)
    return results


def row(policy: str, seen: Sequence[Seen]) -> str:
    from statistics_of import percentile

    ttft = [each.ttft_ms for each in seen]
    off = [each.predicted_ttft_ms - each.ttft_ms for each in seen if each.predicted_ttft_ms is not None]
    cached = sum(each.cached for each in seen) / sum(each.engine_tokens for each in seen)
    near = sum(each.server == "a" for each in seen) / len(seen)
    return (
        f"| {policy} | {len(seen)} | {percentile(ttft, 50):,.0f} | {percentile(ttft, 90):,.0f} | {cached:.3f} | {near:.0%} |"
        f" {percentile(off, 10):+,.0f} {percentile(off, 50):+,.0f} {percentile(off, 90):+,.0f} ({len(off)}) |"
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gotoni-proxy", type=pathlib.Path, default=BUILD / "bin" / "gotoni-proxy", metavar="PATH")
    parser.add_argument("--vllm-venv", type=pathlib.Path, default=BUILD / "vllm-venv", metavar="PATH",
                        help="where vLLM's CPU build is installed [build/vllm-venv]")
    parser.add_argument("--policies", nargs="+", default=["predictive", "gorgo", "least-load"], metavar="NAME")
    parser.add_argument("--rtt", type=distances, default=(2.0, 80.0), metavar="MS,MS", help="to each engine [2,80]")
    parser.add_argument("--rounds", type=int, default=2, metavar="N", help="with conversations of their own [%(default)s]")
    parser.add_argument("--at-once", type=int, default=3, metavar="N", help="conversations at a time [%(default)s]")
    parser.add_argument("--blocks", type=int, default=128, metavar="N", help="of 32 tokens: each KV cache [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, help="of conversations and order [%(default)s]")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="every request")
    options = parser.parse_args()
    if options.rounds < 1 or options.at_once < 1 or options.blocks < 65:
        parser.error("--rounds and --at-once must be above 0, --blocks above 64")
    return options


def distances(text: str) -> tuple[float, ...]:
    found = tuple(float(word) for word in text.split(","))
    if not 1 <= len(found) <= 4 or min(found) < 0:
        raise argparse.ArgumentTypeError(f"{text}: one to four numbers of milliseconds, by comma")
    return found


if __name__ == "__main__":
    sys.exit(main())
