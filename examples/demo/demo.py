"""A fleet in three regions on this machine: the same users, once under each policy, in a minute and a half.

Needs Python 3.10 and the two programs. README.md says what the world is and how to read the table. Exit status: 0,
1 something does not work or (--check) is not as promised, 2 it could not be measured, 130 Ctrl-C.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import tempfile
import time
from typing import Iterator, NoReturn

import figures
import measure
import play
import report
import workload
import world
from client import AnswerError
from control import ControlError
from options import Options, parse


def main() -> int:
    options = parse(str(__doc__))
    signal.signal(signal.SIGTERM, on_term)
    go_first()
    try:
        with folder(options.out) as out:
            with world.running(options.engine, options.proxy, options.port, options.regions, out) as it:
                return show(options, it)
    except (world.WorldError, ControlError, AnswerError) as error:
        print(f"\ndemo: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("\nstopped", file=sys.stderr)
        return 130


def go_first() -> None:
    """Milliseconds are measured here, on a machine that may be compiling something. Needs root; else never mind."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -10)


def on_term(number: int, frame: object) -> NoReturn:
    """An exception, so that everything is stopped on the way out."""
    raise SystemExit(128 + number)


@contextlib.contextmanager
def folder(out: pathlib.Path | None) -> Iterator[pathlib.Path]:
    """For logs and results; without a name, until the end of the block."""
    if out:
        out.mkdir(parents=True, exist_ok=True)
        yield out
    else:
        with tempfile.TemporaryDirectory(prefix="gotoni-demo-") as temporary:
            yield pathlib.Path(temporary)


def show(options: Options, it: world.World) -> int:
    """Plays, prints, and says whether all is well."""
    users = {seed: workload.draw(options.shape, seed) for seed in options.seeds}
    said = report.introduction(options.shape, [each.requests for each in users.values()], it)
    print(said, file=sys.stderr if options.as_json else sys.stdout, flush=True)
    began = time.monotonic()
    samples, load = measure.all_of(users, options.policies, it, options.is_warm)
    seconds = time.monotonic() - began

    rtt_ms = {region.name: region.rtt_ms for region in it.regions}

    def row(policy: str, seeds: tuple[int, ...]) -> figures.Figures:
        pooled = [sample for seed in seeds for sample in samples[seed][policy]]
        return figures.of_policy(policy, pooled, rtt_ms, world.MS_PER_TOKEN)

    rows = [row(policy, options.seeds) for policy in options.policies]
    by_seed = {seed: [row(policy, (seed,)) for policy in options.policies] for seed in options.seeds}
    every = [sample for of in samples.values() for found in of.values() for sample in found]
    agreed = figures.agreement(every)
    wrong = figures.broken(rows, agreed) + (figures.lost(rows) if options.checks else [])

    document = report.document(options.shape, rtt_ms, rows, by_seed, agreed, wrong)
    if options.as_json:
        print(json.dumps(document, indent=1))
    else:
        if len(by_seed) > 1:
            print(report.seeds(by_seed), "\nAll seeds together:", sep="\n")
        print(report.table(rows, list(rtt_ms)))
        print("" if options.is_quick else report.verdict(rows))  # so few requests show nothing
        print(report.notes(rows, agreed, seconds, load), flush=True)
    if options.out:
        requests = {
            seed: {policy: [dataclasses.asdict(sample) for sample in found] for policy, found in of.items()}
            for seed, of in samples.items()
        }
        (options.out / "demo.json").write_text(json.dumps({**document, "requests": requests}, indent=1) + "\n")
    for error in sorted({sample.error for sample in every if sample.error})[:3]:
        print(f"failed: {error}", file=sys.stderr)
    for sentence in wrong:
        print(f"wrong: {sentence}", file=sys.stderr)
    if options.keeps:
        keep(options, it)
    return int(bool(wrong))


def keep(options: Options, it: world.World) -> None:
    """Light traffic under the first policy, until Ctrl-C."""
    policy = options.policies[0]
    it.proxy.set_policy(policy)
    said = f"\nLight traffic goes on under {policy}, until Ctrl-C. Watch it: {it.dashboard}"
    print(said, file=sys.stderr if options.as_json else sys.stdout, flush=True)
    seed = options.seeds[-1]
    shape = dataclasses.replace(options.shape, conversations=24, span_s=workload.Shape.span_s)
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            seed += 1
            # The same assistants as last, so that what is cached stays of use.
            users = workload.draw(shape, options.seeds[-1], seed)
            samples = asyncio.run(play.play(users, it.host, it.port, f"keep-{seed}"))
            it.check()
            for error in sorted({sample.error for sample in samples if sample.error})[:1]:
                print(f"failed: {error}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
