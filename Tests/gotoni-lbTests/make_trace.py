"""Makes a cluster's trace: three nodes, conversations of which most ask the first node, as one file on one clock.

    make_trace.py --lb PATH --engine PATH --out FILE[.gz] [--requests 10000]

Everything listens on loopback, at free ports, and ends with it.
"""

from __future__ import annotations

import argparse
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "gotoni-proxyTests"))

import nodes  # noqa: E402
import programs  # noqa: E402
from load import all_whole, converse, mostly  # noqa: E402

CLIENTS, TURNS = 50, 20


def main() -> None:
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lb", required=True)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--requests", type=int, default=10_000, help=f"rounded up to {CLIENTS * TURNS}")
    options = parser.parse_args()
    nodes.LB, programs.ENGINE = options.lb, options.engine
    tool = [sys.executable, str(HERE.parents[1] / "benchmark" / "cluster_trace.py")]
    with nodes.mesh(3, "--max-concurrent", "6", engine=("--speed", "20")) as made:
        urls = [node.url for node in made.nodes]
        subprocess.run([*tool, "start", *urls], check=True)
        for done in range(0, options.requests, CLIENTS * TURNS):
            print(f"\r{done} of {options.requests} requests", end="", file=sys.stderr, flush=True)
            all_whole(converse(made.nodes, CLIENTS, TURNS, entry=mostly(0, 3)), CLIENTS * TURNS)
        print("\r", end="", file=sys.stderr)
        made.until_quiet()
        subprocess.run([*tool, "stop", *urls, "--out", options.out], check=True)
        print(f"forwards counted by the nodes: {made.total('requests_forwarded')}")


if __name__ == "__main__":
    main()
