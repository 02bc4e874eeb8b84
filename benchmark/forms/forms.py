"""GORGO's own comparison: one central proxy or balancers at the nodes. See README.md.

Needs Linux, setpriv, aiohttp and matplotlib (requirements.txt), and gotoni, gotoni-engine, gotoni-lb and gotoni-proxy in one
folder. Exit status: 0 done, 1 requests failed, 2 there is no measurement.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import sys
import time
from typing import Any

from world import BenchError, check_writable, end_on_signals

SEEDS = [1, 2, 3, 4, 5]
FILES = ("forms.json", "forms.txt", "forms.png")

Results = dict[str, list[dict[str, Any]]]  # of each part


def main() -> int:
    options = parse()
    end_on_signals()
    try:
        return compare(options)
    except ImportError as error:
        print(f"forms: {error} (benchmark/forms/requirements.txt)", file=sys.stderr)
        return 2
    except (BenchError, OSError) as error:
        print(f"forms: {error}", file=sys.stderr)
        return 2


def compare(options: argparse.Namespace) -> int:
    check_writable(options.out / name for name in FILES)
    import tables  # what is not of Python itself is imported only now, so that --help works without it

    parts, texts = measure(options)
    document = {
        "arguments": {name: str(value) for name, value in vars(options).items()},
        "machine": {"cores": os.cpu_count(), "platform": platform.platform(), "when": time.strftime("%Y-%m-%d")},
        "summary": {part: tables.summary(results) for part, results in parts.items()},
        "loopback_runs": parts.get("loopback", []),
    }
    (options.out / "forms.json").write_text(json.dumps(document, indent=1) + "\n")
    (options.out / "forms.txt").write_text("\n\n".join(texts) + "\n")
    tables.draw(parts, options.out / "forms.png")
    print("\n\n".join(texts))
    return 1 if any(row["errors"] for rows in document["summary"].values() for row in rows) else 0


def measure(options: argparse.Namespace) -> tuple[Results, list[str]]:
    import loopback
    import simulated
    import tables

    parts: Results = {}
    texts: list[str] = []
    if options.only in (None, "simulation"):
        seeds = SEEDS[:1] if options.quick else SEEDS
        parts["simulation"] = simulated.run(options.bin / "gotoni", options.out, seeds)
        title = f"Part 1, simulation: medians of {len(seeds)} seeds"
        texts.append(tables.table(title, "busy", tables.summary(parts["simulation"])))
    if options.only in (None, "loopback"):
        rounds, seconds = (1, 10.0) if options.quick else (options.rounds, options.seconds)
        parts["loopback"] = loopback.run(
            options.bin, sys.executable, options.out, rounds, seconds, options.seed, options.at_once, options.quick
        )
        title = f"Part 2, loopback: medians of {rounds} rounds"
        texts.append(tables.table(title, "prefill", tables.summary(parts["loopback"])))
        texts.append(loopback.costs(parts["loopback"]))
    return parts, texts


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), required=True, help="folder of the programs")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder for forms.txt, .json, .png and logs")
    parser.add_argument("--only", choices=["simulation", "loopback"], help="one part")
    parser.add_argument("--rounds", type=int, default=4, help="of part 2 (4)")
    parser.add_argument("--seconds", type=float, default=30, help="in which conversations begin (30)")
    parser.add_argument("--seed", type=int, default=1, help="of the requests and the order of part 2 (1)")
    parser.add_argument("--at-once", type=int, default=3, help="runs of part 2 side by side (3)")
    parser.add_argument("--quick", action="store_true", help="two minutes, to see that all works")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
