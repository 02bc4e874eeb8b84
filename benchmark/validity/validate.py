"""Does the simulator's engine model predict a real engine? Measures llama.cpp, fits the model, predicts, compares.

    python validate.py --gotoni ../../.build/release/gotoni --out ../../build/validity

Needs Linux and the packages of requirements.txt, and the built `gotoni`.
The model is fitted on one workload and judged on another, which it has never seen. Exit status: 0 the simulated TTFT of the
held-out workload is within 10 % of the measured one at the median and within 20 % at the 95th percentile, 1 it is not, 2
something could not be measured.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

HERE = pathlib.Path(__file__).resolve().parent


def main() -> int:
    arguments = parse_arguments()
    try:
        from validation import validate  # numpy and others come with it: --help works without them
    except ImportError as error:
        print(f"validate: {error} (benchmark/validity/requirements.txt)", file=sys.stderr)
        return 2
    return validate(arguments)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--gotoni",
        type=pathlib.Path,
        default=HERE.parents[1] / ".build" / "release" / "gotoni",
        help="the command line tool [.build/release/gotoni of this repository]",
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, help="a folder for everything that is made")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="of the held-out workload [%(default)s]")
    arguments = parser.parse_args()
    if arguments.runs < 1:
        parser.error("--runs must be at least 1")
    return arguments


if __name__ == "__main__":
    sys.exit(main())
