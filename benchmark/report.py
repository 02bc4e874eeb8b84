#!/usr/bin/env python3
"""Tables, CSV files and plots of what run_guidellm.sh or GuideLLM 0.8 wrote.

    python3 benchmark/report.py guidellm_results --csv build/clean --plots build/plots
    python3 benchmark/report.py benchmarks.json another.json

TTFT, ITL and request latency (all in milliseconds), requests and output tokens a second, the share of prompt tokens
found cached, and failures, by load and policy, with 95 % intervals: over seeds where there are several, else over the
requests of the one run. Policies under one load are compared over the seeds that all of them have; others are named and
left out of the tables, not of the CSV files. Of a plain file of GuideLLM the policy is the file's name.

Needs: Python 3.11 with numpy, and for --plots matplotlib (benchmark/sweep/requirements-guidellm.txt). Exit status: 0
done, 2 a file is not what it should be.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import sys
from typing import Any

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "sweep"))

from control import BenchError  # noqa: E402


def main() -> int:
    options = parse()
    try:
        try:
            import numpy  # noqa: F401
        except ImportError:
            raise BenchError("numpy is missing: benchmark/sweep/requirements-guidellm.txt") from None
        import cells
        import csv_files
        import results
        import terminal

        benchmarks = results.read_all(options.results)
        found = cells.cells(benchmarks)
        if options.json:
            options.json.write_text(json.dumps([cell.document() for cell in found], indent=1) + "\n")
        if options.csv:
            csv_files.write(benchmarks, options.csv)
        if options.plots:
            draw(found, options.plots)
        print(terminal.report(found))
    except (BenchError, OSError) as error:
        print(f"report: {error}", file=sys.stderr)
        return 2
    return 0


def draw(found: list[Any], folder: pathlib.Path) -> None:
    try:
        import pictures
    except ImportError:
        raise BenchError("matplotlib is missing: benchmark/sweep/requirements-guidellm.txt") from None
    for path in pictures.draw(found, folder):
        print(path, file=sys.stderr)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "results",
        nargs="+",
        type=pathlib.Path,
        metavar="DIR|FILE",
        help="a folder of run_guidellm.sh, one run's folder, or a JSON file of GuideLLM",
    )
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="everything in the tables, as JSON")
    parser.add_argument(
        "--csv", type=pathlib.Path, metavar="DIR", help="requests_clean.csv, summary_clean.csv and config_clean.csv"
    )
    parser.add_argument("--plots", type=pathlib.Path, metavar="DIR", help="ttft and ttft-ecdf, as .png and .svg")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
