"""Part 2: the real programs on this machine, with distances between them."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import pathlib
import random
import time
from typing import Any, Callable, Sequence

from load import Answer, Clients, Conversation, conversations, ideal_tokens
from world import MS_PER_TOKEN, BenchError, Form, World, median, percentile, world

FORMS = {
    form.name: form
    for form in (
        Form("gorgo, proxy", "gorgo"),
        Form("prefix-tree, proxy", "prefix-tree"),
        Form("least-load, proxy", "least-load"),
        Form("gorgo, nodes", "gorgo", at_nodes=True),
        Form("gorgo, nodes, threshold 5", "gorgo", at_nodes=True, options=("--running-threshold", "5")),
        Form("prefix-tree, nodes", "prefix-tree", at_nodes=True),
        Form("least-load, nodes", "least-load", at_nodes=True),
        # What the published code comes to once a forward fails at once: five served, and one from the queue.
        Form("no forwarding, nodes", "gorgo", at_nodes=True, options=("--max-concurrent", "6"), peers=False),
        Form(
            "gorgo, nodes, threshold 5, new connections", "gorgo", at_nodes=True,
            options=("--running-threshold", "5"), fresh_connections=True,
        ),
    )
}
# Of the users in each region, where they are not spread evenly. Assumed: nobody published the paper's.
UNEVEN = (0.6, 0.3, 0.1)
# Conversations a second, and for how many times the seconds they go on beginning. Light is what the paper's tables have: one or
# two requests a second.
LOADS = {"busy": (2.6, 1), "light": (0.5, 2)}
CELLS = {
    ("busy", "one"): [name for name in FORMS if "new connections" not in name],
    ("light", "one"): [name for name in FORMS if name not in ("prefix-tree, proxy", "least-load, proxy", "gorgo, nodes")],
    ("busy", "uneven"): ["gorgo, proxy", "gorgo, nodes", "gorgo, nodes, threshold 5", "no forwarding, nodes"],
    ("busy", "regions"): ["gorgo, proxy", "gorgo, nodes", "gorgo, nodes, threshold 5"],
}
QUICK_CELLS = {("light", "one"): ["gorgo, proxy", "gorgo, nodes, threshold 5", "least-load, nodes"]}


def run(
    programs: pathlib.Path,
    python: str,
    folder: pathlib.Path,
    rounds: int,
    seconds: float,
    seed: int,
    at_once: int,
    quick: bool,
) -> list[dict[str, Any]]:
    """Every form of every cell once a round, in an order drawn anew; the same requests within a round."""
    os.environ["GOTONI_MESH_KEY"] = random.Random(f"key-{seed}").randbytes(16).hex()
    chance = random.Random(f"order-{seed}")
    cells = QUICK_CELLS if quick else CELLS

    def measured(number: int, load: str, place: str, name: str) -> dict[str, Any]:
        logs = folder / "logs" / f"{number}-{load}-{place}-{name.replace(', ', '-').replace(' ', '-')}"
        logs.mkdir(parents=True, exist_ok=True)
        arguments = (FORMS[name], load, place, seconds, seed * 1000 + number, programs, python, logs)
        try:
            result = one(*arguments)
        except BenchError as error:  # somebody else took a port between finding it and listening
            print(f"again: {error}", flush=True)
            result = one(*arguments)
        say(number, result)
        return {"round": number, **result}

    results: list[dict[str, Any]] = []
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for number in range(1, rounds + 1):
            runs = [(load, place, name) for (load, place), names in cells.items() for name in names]
            chance.shuffle(runs)
            try:
                results += pool.map(lambda each: measured(number, *each), runs)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    return results


def one(
    form: Form, load: str, place: str, seconds: float, seed: int, programs: pathlib.Path, python: str, logs: pathlib.Path
) -> dict[str, Any]:
    per_second, times = LOADS[load]
    plan = conversations(per_second, times * seconds, seed)
    with world(form, place, programs, python, logs) as made:
        shares = UNEVEN if place == "uneven" else (1 / 3, 1 / 3, 1 / 3)
        clients = Clients(plan, regions(plan, shares, seed), made.entries, form.fresh_connections)
        before, own_before, start = made.cpu_s(), time.thread_time(), time.monotonic()
        asyncio.run(clients.run())
        took = time.monotonic() - start
        own = time.thread_time() - own_before
        spent = {kind: (value - before[kind]) / took for kind, value in made.cpu_s().items()}
        return {
            "form": form.name, "load": load, "place": place, "seed": seed,
            **figures(clients, made, sum(len(each.turns) for each in plan)),
            "ideal_fresh_share": ideal_tokens(plan)[1] / ideal_tokens(plan)[0],
            "cpu_cores": {**spent, "clients": own / took},
            "machine_load": os.getloadavg()[0],
        }


def regions(plan: list[Conversation], shares: Sequence[float], seed: int) -> list[int]:
    """Where each conversation comes from: as near to the shares as can be, in an order drawn from the seed."""
    bounds = [round(sum(shares[: region + 1]) * len(plan)) for region in range(len(shares))]
    result = [next(region for region, bound in enumerate(bounds) if place < bound) for place in range(len(plan))]
    random.Random(f"regions-{seed}").shuffle(result)
    return result


def figures(clients: Clients, made: World, planned: int) -> dict[str, Any]:
    good = [answer for answer in clients.answers if not answer.error]
    done = made.engine_counters()
    requests = sum(each["requests"] for each in done)
    fresh = sum(each["prompt_tokens"] - each["cached_tokens"] for each in done)
    dues = [answer.due_s for answer in clients.answers]
    return {
        "ttft_ms": [round(answer.ttft_ms or 0, 1) for answer in good],
        "e2e_ms": [round(answer.e2e_ms or 0, 1) for answer in good],
        "region": [clients.regions[answer.conversation] for answer in good],
        "requests": planned,
        "errors": planned - len(good),
        "error_texts": first_errors(clients.answers),
        "prompt_tokens": sum(answer.prompt_tokens for answer in good),
        "cached_share": sum(answer.cached_tokens for answer in good) / max(1, sum(a.prompt_tokens for a in good)),
        "forwarded_share": made.forwarded() / max(1, requests),
        "queued_share": made.queued() / max(1, requests),
        "engine_shares": [each["requests"] / max(1, requests) for each in done],
        "sending_s": max(dues) - min(dues),
        "busy_share": fresh * MS_PER_TOKEN / 1000 / len(done) / (max(dues) - min(dues)),
        "client_late_p99_ms": percentile([answer.late_ms for answer in clients.answers], 99),
        "loop_late_p99_ms": percentile(clients.loop_late_ms, 99),
        "opened_share": clients.opened / max(1, planned),
    }


def first_errors(answers: list[Answer]) -> list[str]:
    return sorted({answer.error for answer in answers if answer.error})[:5]


def say(number: int, result: dict[str, Any]) -> None:
    cores = result["cpu_cores"]
    print(
        f"round {number}, {result['load']}, {result['place']}, {result['form']}: "
        f"p50 {percentile(result['ttft_ms'], 50):,.0f}, p99 {percentile(result['ttft_ms'], 99):,.0f} ms, "
        f"{result['requests']} requests, {result['errors']} errors; prefill {result['busy_share']:.0%}, "
        f"cores: clients {cores['clients']:.2f}, all {sum(cores.values()):.2f}; "
        f"clients late p99 {result['client_late_p99_ms']:.1f} ms, load of the machine {result['machine_load']:.1f}",
        flush=True,
    )


def costs(results: list[dict[str, Any]]) -> str:
    """Whether the clients and the relays were in the way."""

    def most(of: Callable[[dict[str, Any]], float]) -> float:
        return max(of(each) for each in results)

    return (
        f"cores used, largest of all runs: clients {most(lambda r: r['cpu_cores']['clients']):.2f}, "
        f"relays {most(lambda r: r['cpu_cores'].get('relay', 0)):.2f}, engines {most(lambda r: r['cpu_cores']['engine']):.2f}, "
        f"routers {most(lambda r: r['cpu_cores']['front']):.2f}\n"
        f"requests sent late, p99: median of the runs {median([r['client_late_p99_ms'] for r in results]):.1f} ms, "
        f"largest {most(lambda r: r['client_late_p99_ms']):.1f} ms; "
        f"load of the machine, largest {most(lambda r: r['machine_load']):.1f}"
    )
