"""Real engines behind real distances, one router after the other on the same conversations: see README.md.

    benchmark/real/run --json FILE

Every repetition has conversations of its own and visits all contestants in an order drawn anew. Engines and routers are
started for each run and ended after it. Exit status: 0 done, 1 requests failed, 2 there is no measurement.
Needs Linux with TUN devices and network namespaces, Debian's iproute2, util-linux and haproxy, and installs the rest.
"""

from __future__ import annotations

import argparse
import pathlib
import sys

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"


def main() -> int:
    options = parse()
    try:
        import runs
    except ImportError as error:
        print(f"real: {error}: pip install -r benchmark/real/requirements.txt", file=sys.stderr)
        return 2
    return runs.main(options)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="benchmark/real/run", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", type=pathlib.Path, required=True, metavar="FILE",
                        help="all records; tables and a picture go beside it, as .md, .png and .svg")
    parser.add_argument("--gotoni-proxy", type=pathlib.Path, default=BUILD / "bin" / "gotoni-proxy")
    parser.add_argument("--field", metavar="A,B", help="contestants, or routers for all that they can [all]")
    parser.add_argument("--repetitions", type=int, default=5, metavar="N")
    parser.add_argument("--trace", type=pathlib.Path, metavar="FILE",
                        help="Mooncake's JSON lines, blocks of 32 tokens [conversations drawn from the seed]")
    parser.add_argument("--rtt", default="2,80,160", metavar="MS,MS,MS", help="to each engine [%(default)s]")
    parser.add_argument("--time-scale", type=float, default=1.0, metavar="X", help="2: twice as many requests a second")
    parser.add_argument("--slots", type=int, default=4, help="prompts that an engine remembers [%(default)s]")
    parser.add_argument("--context", type=int, default=32768, help="tokens of them together [%(default)s]")
    parser.add_argument("--gotoni-option", action="append", default=[], metavar="WORD",
                        help="for every gotoni-proxy, as --gotoni-option=--name=value; repeat for more")
    parser.add_argument("--ms-per-token", type=float, metavar="MS", help="told to gotoni's cost [measured on an engine first]")
    parser.add_argument("--seed", type=int, default=1, help="of conversations, words and order [%(default)s]")
    parser.add_argument("--quick", action="store_true", help="a smoke test: one repetition of 10 s, of three contestants if --field names none; judges nothing")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
