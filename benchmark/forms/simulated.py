"""Part 1: the forms in virtual time, by `gotoni simulate`."""

from __future__ import annotations

import collections
import csv
import json
import pathlib
from typing import Any

from world import RTT_MS, output_of

# As the paper's: three regions with one engine each, which runs ten requests at a time.
WORLD = ["--workload", "agentic", "--engine", "a100", "--servers", "1", "--probe-interval", "0.1", "--no-oracle"]
USERS = {"busy": 120, "light": 20}
HOME = "gorgo-v1@nodes:running_threshold=1000000"
# A node of the simulator hears of its peers' load in requests. gotoni-lb tells tokens; the workload's mean prompt in the place
# of the prior of 500 comes near to that.
TOLD = ":tokens_per_request_prior=8000"
# What newcomers are charged for those before them: benchmark/simulation/README.md, What the terms are worth.
LOW = ":queued_weight=0.1:running_cost_factor=0.02"
POLICIES = {
    "gorgo": "gorgo, proxy",
    f"gorgo{LOW}": "gorgo low, proxy",
    "prefix-tree": "prefix-tree, proxy",
    "least-load": "least-load, proxy",
    "gorgo@nodes": "gorgo, nodes",
    f"gorgo@nodes{TOLD}": "gorgo told, nodes",
    f"gorgo@nodes{TOLD}{LOW}": "gorgo told low, nodes",
    "gorgo-v1@nodes": "gorgo-v1, nodes",
    "prefix-tree@nodes": "prefix-tree, nodes",
    "least-load@nodes": "least-load, nodes",
    HOME: "no forwarding, nodes",
}
LIMIT_S = 600

Rows = list[dict[str, str]]


def run(gotoni: pathlib.Path, folder: pathlib.Path, seeds: list[int]) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = []
    for load, users in USERS.items():
        for seed in seeds:
            for clients, rtt in (("spread", "believed"), ("proxy", "believed"), ("spread", "0,0,0")):
                arguments = ["--users", users, "--seed", seed, "--clients", clients, "--rtt", rtt]
                played = play(gotoni, folder, arguments)
                for form, result in cells(played, clients, rtt):
                    results.append({"form": form, "load": load, "seed": seed, **result})
    return results


def play(gotoni: pathlib.Path, folder: pathlib.Path, arguments: list[Any]) -> dict[str, tuple[dict[str, Any], Rows]]:
    """By policy: its figures, and a row for every request in the order of the workload."""
    document, log = folder / "simulated.json", folder / "simulated.csv"
    policies = ",".join(POLICIES)
    output_of([gotoni, "simulate", *WORLD, *arguments, "--policy", policies, "--json", document, "--log", log, "-q"], LIMIT_S)
    rows: dict[str, Rows] = collections.defaultdict(list)
    with log.open() as lines:
        for row in csv.DictReader(lines):
            rows[row["policy"]].append(row)
    found = {each["policy"]: each for each in json.loads(document.read_text())["cells"][0]["policies"]}
    document.unlink()
    log.unlink()
    return {name: (found[name], sorted(rows[name], key=lambda row: int(row["index"]))) for name in POLICIES}


def cells(played: dict[str, tuple[dict[str, Any], Rows]], clients: str, rtt: str) -> list[tuple[str, dict[str, Any]]]:
    """One run of the simulator can stand for two places: see README.md."""
    # Where nothing is forwarded the server is that of the user's region.
    homes = [int(row["server"]) - 1 for row in played[HOME][1]]
    result: list[tuple[str, dict[str, Any]]] = []
    for name, (found, rows) in played.items():
        form, at_nodes = POLICIES[name], "@nodes" in name

        def add(place: str, later: tuple[float, ...] = (0, 0, 0)) -> None:
            ok = [(row, home) for row, home in zip(rows, homes) if row["outcome"] == "ok"]
            forwarded = sum(int(row["server"]) - 1 != home for row, home in ok) / len(ok) if at_nodes else 0
            result.append((
                form,
                {
                    "place": place,
                    "ttft_ms": [float(row["ttft_ms"]) + later[home] for row, home in ok],
                    "requests": len(rows),
                    "errors": found["failed"],
                    "cached_share": found["hit_share"],
                    "forwarded_share": forwarded,
                    "busy_share": found["utilization"],
                    "busiest_share": found["busiest_share"],
                },
            ))

        if rtt != "believed":
            add("nowhere")
        elif clients == "spread":
            add("regions")
            if at_nodes:
                # The same run seen from one place: all that a user's client and node say to each other takes longer, the
                # same each time, so the user's requests stay as far apart and first tokens come one round trip later.
                add("one", RTT_MS)
        else:
            # Here the simulator puts all clients in front of the nearest node.
            add("nearest" if at_nodes else "one")
    return result
