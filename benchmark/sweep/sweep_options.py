"""GuideLLM's profiles, all policies and several seeds, through a router or a geography of them: see sweep/README.md.

One folder a run, with GuideLLM's own JSON, what was asked, and what engines and routers counted before and after;
runs.jsonl lists them. Before every run the policy is set and the caches of engines and routers are emptied; a control
call that fails ends the sweep. Secrets come by the environment: GOTONI_ADMIN_TOKEN for the routers' control endpoints,
GOTONI_UPSTREAM_API_KEY for the engines'. Ctrl-C, SIGTERM and SIGHUP end it with all that it started.

Needs: Linux with setpriv (Debian package util-linux), Python 3.11 with benchmark/sweep/requirements-guidellm.txt, which
has GuideLLM 0.8.1 and, for --local, aiohttp; for --local also our programs, and with --geo-router gotoni libgotoni
(make bin lib). Exit status: 0 all runs done without a failed request, 1 some failed, 2 nothing could be run, or the
sweep was ended.
"""

from __future__ import annotations

import argparse
import os
import pathlib
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
POLICIES = "gorgo,least-load,prefix-tree"


def numbers(kind: type, least: float, most: float) -> Any:
    """By comma, none twice, each from `least` to `most`."""

    def values_of(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(word) for word in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not numbers by comma") from None
        if len(set(values)) < len(values) or not all(least <= value <= most for value in values):
            raise argparse.ArgumentTypeError(f"{text}: different numbers from {least:g} to {most:g}")
        return values

    return values_of


def number(kind: type, least: float, most: float) -> Any:
    def value_of(text: str) -> Any:
        (value,) = numbers(kind, least, most)(text) if "," not in text else (None,)
        if value is None:
            raise argparse.ArgumentTypeError(f"{text} is not one number")
        return value

    return value_of


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_guidellm.sh",
        description=__doc__,
        epilog="--python PYTHON, anywhere among the others: the Python that has GuideLLM (python3)",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    where = parser.add_argument_group("target, one of")
    where.add_argument(
        "--local",
        type=number(int, 1, 8),
        metavar="N",
        help="start N simulated engines with routers on this machine, and end them (3, if no target is given)",
    )
    where.add_argument(
        "--proxy", metavar="URL", help="one gotoni-proxy; its engines are asked of it, or named with --engine"
    )
    where.add_argument("--geo", metavar="URL", help="a geo_proxy.py in front of --node and --engine")
    more = parser.add_argument_group("about the target")
    more.add_argument(
        "--node", action="append", default=[], metavar="URL", help="a gotoni-lb behind --geo; repeat for more"
    )
    more.add_argument(
        "--engine", action="append", default=[], metavar="URL", help="an engine to flush and count; repeat for more"
    )
    more.add_argument(
        "--keep-engine-caches",
        action="store_true",
        help="do not flush engines: for those that cannot, though then the first policy warms up for the others",
    )
    more.add_argument(
        "--ca", type=pathlib.Path, metavar="FILE", help="PEM file of the authority to trust instead of the system's"
    )
    more.add_argument(
        "--form",
        choices=["geo", "proxy"],
        default="geo",
        help="of --local: geo_proxy.py before a gotoni-lb at each engine, or one gotoni-proxy (geo)",
    )
    more.add_argument(
        "--geo-router",
        choices=["nearest", "gotoni"],
        default="nearest",
        help="of --local: geo_proxy.py's --router (nearest)",
    )
    more.add_argument(
        "--lookup",
        type=pathlib.Path,
        metavar="FILE",
        help="of --local --form geo, with --data: where its users live, as prepare_wildchat.py writes it; without it, "
        "and with --synthetic, all are at geo_proxy.py's default place, so that --geo-router nearest uses one node",
    )
    more.add_argument(
        "--bin",
        type=lambda text: pathlib.Path(text).resolve(),
        default=HERE.parents[1] / "build" / "bin",
        metavar="DIR",
        help="of --local: folder of our programs (build/bin)",
    )
    what = parser.add_argument_group("what is run")
    what.add_argument(
        "--profile",
        default="poisson",
        metavar="A,B",
        help="poisson, sweep, constant, concurrent, throughput, or all (poisson)",
    )
    what.add_argument("--policies", default=POLICIES, metavar="A,B", help=f"of the routers, by comma ({POLICIES})")
    what.add_argument(
        "--seeds",
        type=numbers(int, 0, 2**31 - 1),
        default=(1,),
        metavar="1,2",
        help="of arrivals, of the order of rows and of the order of policies (1)",
    )
    what.add_argument(
        "--rate",
        type=numbers(float, 0.001, 1e6),
        default=(5.0,),
        metavar="R,R",
        help="requests a second of poisson and constant; several are runs of their own (5)",
    )
    what.add_argument(
        "--streams",
        type=numbers(int, 1, 10_000),
        default=(8,),
        metavar="N,N",
        help="of concurrent; several are runs of their own (8)",
    )
    what.add_argument(
        "--sweep-points",
        type=number(int, 3, 100),
        default=5,
        metavar="N",
        help="of sweep: one after the other, all at once, and constant rates between (5). GuideLLM sends each "
        "the same rows, and caches are emptied before the first only",
    )
    what.add_argument(
        "--max-concurrency",
        type=number(int, 1, 10_000),
        default=64,
        metavar="N",
        help="most requests at one time of throughput and sweep (64)",
    )
    what.add_argument(
        "--seconds",
        type=number(float, 1, 86_400),
        default=30.0,
        metavar="S",
        help="of each load; what is under way then is given up, and counted as incomplete (30)",
    )
    what.add_argument("--requests", type=number(int, 1, 10_000_000), metavar="N", help="most requests of each load")
    what.add_argument(
        "--data",
        type=pathlib.Path,
        metavar="FILE",
        help='JSON lines with a "prompt", as prepare_wildchat.py writes; each is sent once, in an order drawn per seed',
    )
    what.add_argument(
        "--repeat",
        type=number(int, 1, 1000),
        metavar="N",
        help="send each row of the data N times, spread over the run, so that caches have something to find (1)",
    )
    what.add_argument(
        "--synthetic",
        metavar="A=N,B=N",
        help="texts that GuideLLM makes up, all different: prompt_tokens=256,output_tokens=16; "
        "also with _stdev, _min and _max, and turns",
    )
    what.add_argument("--max-tokens", type=number(int, 1, 1_000_000), metavar="N", help="most tokens of an answer")
    what.add_argument("--model", metavar="NAME", help="the model to ask for (the first of /v1/models)")
    what.add_argument(
        "--tokenizer",
        metavar="DIR|NAME",
        help="folder, or a name on Hugging Face, of the model's tokenizer (DeepSeek's, of the installed package)",
    )
    what.add_argument(
        "--request-timeout", type=number(float, 1, 86_400), default=120.0, metavar="S", help="of one request (120)"
    )
    what.add_argument(
        "--workers",
        type=number(int, 1, 64),
        default=max(1, min(10, (os.cpu_count() or 1) // 2)),
        metavar="N",
        help="most processes that GuideLLM sends from (half of the cores, at most 10)",
    )
    what.add_argument(
        "--out",
        type=pathlib.Path,
        default=pathlib.Path("guidellm_results"),
        metavar="DIR",
        help="a folder that is empty or not there yet (guidellm_results)",
    )
    what.add_argument(
        "--dry-run",
        action="store_true",
        help="check everything, --out and --data too, print what would be run, and end",
    )
    options = parser.parse_args()
    settle(parser, options)
    return options


def settle(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Options that fit together; what has no effect is an error."""
    if sum(target is not None for target in (options.local, options.proxy, options.geo)) > 1:
        parser.error("give one of --local, --proxy and --geo")
    if options.proxy is None and options.geo is None and options.local is None:
        options.local = 3
    if options.local is not None and (options.node or options.engine or options.ca):
        parser.error("--node, --engine and --ca are not for --local")
    if options.proxy is not None and options.node:
        parser.error("--node goes with --geo")
    if options.geo is not None and not options.node:
        parser.error("--geo wants every gotoni-lb behind it as --node")
    if options.geo is not None and not options.engine and not options.keep_engine_caches:
        parser.error("--geo wants every engine as --engine, so that it can be flushed (or --keep-engine-caches)")
    if options.data is not None and options.synthetic is not None:
        parser.error("give --data or --synthetic, not both")
    if options.synthetic is not None and options.repeat is not None:
        parser.error("--repeat is for rows of data, not for --synthetic")
    if options.lookup is not None and (options.local is None or options.form != "geo" or options.data is None):
        parser.error("--lookup goes with --local, --form geo and --data")
    options.repeat = options.repeat or 1
    if options.local is None and options.data is None and options.synthetic is None:
        parser.error("give --data or --synthetic")
