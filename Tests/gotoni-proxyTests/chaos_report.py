"""What a chaos run has found: the table, the file, the verdict."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from chaos_clients import Clients

if TYPE_CHECKING:
    from chaos_run import Chaos

# Of all requests; faults are many, yet one server is up nearly always.
LEAST_COMPLETE = 0.6
KINDS = ("stream", "plain", "tokens", "models", "bad")


def write(options: argparse.Namespace, chaos: Chaos, clients: Clients | None, took: float) -> bool:
    """True: something is wrong."""
    if clients:
        _table(clients)
        print(f"  sent again, for a proxy that ended had closed the idle connection: {clients.sent_again}", end="")
        print(f" (of these reset: {clients.resets_when_idle})")
        print("  done to it:", ", ".join(f"{count} {name}" for name, count in sorted(chaos.done.items())))
        if chaos.last:
            print("  the last proxy:", ", ".join(f"{key} {round(value)}" for key, value in chaos.last.items()))
        print(f"  {clients.done} requests in {took:.0f} s: {clients.done / took:.0f}/s")
        _judge(options, chaos, clients)
    for problem in chaos.problems:
        print(f"  WRONG: {problem}")
    passed = not chaos.problems
    _file(options, chaos, clients, took, passed)
    print(f"chaos: {'passed' if passed else 'failed'}, seed {options.seed}", flush=True)
    return not passed


def _sums(clients: Clients) -> list[tuple[str, int]]:
    sums: dict[str, int] = {}
    for (outcome, _), count in clients.outcomes.items():
        sums[outcome] = sums.get(outcome, 0) + count
    return sorted(sums.items(), key=lambda item: (-item[1], item[0]))


def _table(clients: Clients) -> None:
    sums = _sums(clients)
    width = max([len(outcome) for outcome, _ in sums] + [0])
    print(f"  {'how it ended':{width}}" + "".join(f"{kind:>9}" for kind in (*KINDS, "all")))
    for outcome, all_of_them in sums:
        counts = [clients.outcomes[outcome, kind] for kind in KINDS]
        print(f"  {outcome:{width}}" + "".join(f"{count or '.':>9}" for count in counts) + f"{all_of_them:9}")


def _judge(options: argparse.Namespace, chaos: Chaos, clients: Clients) -> None:
    if clients.done != options.requests:
        chaos.problems.append(f"{clients.done} of {options.requests} requests ended")
    complete = dict(_sums(clients)).get("complete", 0)
    if complete < LEAST_COMPLETE * clients.done:
        chaos.problems.append(f"only {complete} of {clients.done} were answered")
    if chaos.restarts != options.restarts:
        chaos.problems.append(f"{chaos.restarts} of {options.restarts} restarts took place")
    for failure in clients.failures[:10]:
        print(f"  {failure}")
    if clients.failures:
        chaos.problems.append(f"{len(clients.failures)} requests ended as none may; all are in chaos.log")


def _file(options: argparse.Namespace, chaos: Chaos, clients: Clients | None, took: float, passed: bool) -> None:
    document = {
        "passed": passed,
        "requests": options.requests,
        "seed": options.seed,
        "plant": options.plant,
        "seconds": round(took, 1),
        "restarts": chaos.restarts,
        "outcomes": dict(_sums(clients)) if clients else {},
        "sent_again": clients.sent_again if clients else 0,
        "done_to_it": chaos.done,
        "last_proxy": chaos.last,
        "problems": chaos.problems,
        "failures": [str(failure) for failure in clients.failures] if clients else [],
    }
    (options.out / "chaos.json").write_text(json.dumps(document, indent=1) + "\n")
