"""What the way of a long prompt to a distant server costs, by the state of its connection: see README.md.

    benchmark/connections/connections.py --out FOLDER

A prompt's *upload* is its time to the first token less one round trip and less what the same prompt takes without any
distance. Measured on connections of its own and through gotoni-proxy with the policy predictive, whose prediction of it stands
beside. Writes connections.json and connections.md into FOLDER.
Needs Linux with TUN devices and network namespaces, Debian's iproute2 and util-linux, and the packages of
benchmark/real/requirements.txt. Exit status: 0 done, 2 there is no measurement, 130 and 143 interrupted.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import pathlib
import platform
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
BIN = HERE.parents[1] / "build" / "bin"
sys.path += [str(HERE.parent / "peers"), str(HERE.parent / "real")]

from processes import BenchError, end_on_signals, go_on_in_own_network  # noqa: E402

MOST_TOKENS = 200_000


def main() -> int:
    options = parse()
    end_on_signals(lambda number: 128 + number)
    try:
        check(options)
        go_on_in_own_network()
        return measure(options)
    except ImportError as error:
        print(f"connections: {error}: pip install -r benchmark/real/requirements.txt", file=sys.stderr)
        return 2
    except (BenchError, OSError) as error:
        print(f"connections: {error}", file=sys.stderr)
        return 2


def check(options: argparse.Namespace) -> None:
    """Everything that can be wrong with the options, before anything is started. Errors: BenchError, OSError."""
    for name in ("gotoni-proxy", "gotoni-engine"):
        if not (options.bin / name).exists():
            raise BenchError(f"there is no {options.bin / name}: make bin")
    if not options.rtt or not all(0 < each <= 1000 for each in options.rtt) or len(options.rtt) > 8:
        raise BenchError("--rtt: one to eight numbers of milliseconds above 0, at most 1000, by comma")
    if not options.tokens or not all(1 <= each <= MOST_TOKENS for each in options.tokens):
        raise BenchError(f"--tokens: whole numbers from 1 to {MOST_TOKENS}, by comma")
    if options.repetitions < 1 or options.idle <= 0:
        raise BenchError("--repetitions and --idle must be above 0")
    options.out.mkdir(parents=True, exist_ok=True)
    for name in ("connections.json", "connections.md"):
        (options.out / name).touch()


def measure(options: argparse.Namespace) -> int:
    import tables
    import trials

    with tempfile.TemporaryDirectory() as folder:
        plan = trials.Plan(options.bin, pathlib.Path(folder), options.rtt, options.tokens, options.repetitions,
                           options.idle, options.seed)
        results = trials.run(plan, lambda text: print(f"connections: {text}", file=sys.stderr))
    document = {
        "arguments": {name: str(value) for name, value in vars(options).items()},
        "machine": {"platform": platform.platform(), "when": time.strftime("%Y-%m-%d")},
        **dataclasses.asdict(results),
    }
    (options.out / "connections.json").write_text(json.dumps(document, indent=1) + "\n")
    text = tables.tables(results)
    (options.out / "connections.md").write_text(text + "\n")
    print(text)
    return 0


def numbers(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(word) for word in text.split(","))
    except ValueError:
        return ()


def whole_numbers(text: str) -> tuple[int, ...]:
    return tuple(int(each) for each in numbers(text) if each.is_integer())


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark/connections/connections.py", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=pathlib.Path, required=True, metavar="FOLDER")
    parser.add_argument("--bin", type=pathlib.Path, default=BIN, metavar="FOLDER",
                        help="where gotoni-proxy and gotoni-engine are [build/bin]")
    parser.add_argument("--rtt", type=numbers, default="2,80,160", metavar="MS,…", help="to each engine [%(default)s]")
    parser.add_argument("--tokens", type=whole_numbers, default="1000,5000,10000,20000,40000", metavar="N,…",
                        help="of the prompts [%(default)s]")
    parser.add_argument("--repetitions", type=int, default=3, metavar="N", help="of each prompt [%(default)s]")
    parser.add_argument("--idle", type=float, default=2.0, metavar="SECONDS",
                        help="between two requests of an idle connection [%(default)s]")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of the order of prompts [%(default)s]")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
