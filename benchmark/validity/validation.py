"""The run of validate.py: measures the engine, fits the model, simulates, compares and prints."""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from typing import Any, Sequence

import engine
import fit
import measure
import model
import workload

PERCENTS = [50, 95]
FIGURES = {"ttft_ms": "TTFT", "e2e_ms": "E2E", "itl_ms": "ITL"}
ALLOWED_PERCENT = {50: 10.0, 95: 20.0}  # of TTFT, on the held-out workload

FIT_RUNS = 3  # one alone would pass its own noise on to the costs

CALM_CPU = 0.1  # a run is disturbed when others used more of a processor than this
ATTEMPTS = 2
CALM_WITHIN_S = 30.0
SIMULATED_WITHIN_S = 60.0


def validate(arguments: argparse.Namespace) -> int:
    """The exit status, as validate.py says it."""
    try:
        results = Validation(arguments).run()
        (arguments.out / "validity.json").write_text(json.dumps(results, indent=1) + "\n")
    except (OSError, RuntimeError, subprocess.SubprocessError, measure.RunError) as error:
        measure.progress("")
        print(f"validate: {error}", file=sys.stderr)
        return 2
    print_report(results)
    return 1 if results["missed"] else 0


class Validation:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.gotoni: pathlib.Path = arguments.gotoni.resolve()
        self.out: pathlib.Path = arguments.out.resolve()
        self.runs: int = arguments.runs
        self.model = self.out / "tiny.gguf"
        self.measurements = 0
        if not self.gotoni.is_file():
            raise RuntimeError(f"There is no {self.gotoni}; build it with: swift build -c release --product gotoni")
        self.out.mkdir(parents=True, exist_ok=True)

    def run(self) -> dict[str, Any]:
        begin = time.monotonic()
        engine.take_precedence()
        say("making the model and the workloads")
        model.write_model(self.model)
        for name, plan in workload.PLANS.items():
            workload.write(workload.make(plan), self.trace(name))

        fit_runs, heldout_runs = self.measure_in_turn()
        fitted, quality = fit.fit([run.records for run in fit_runs], "llama.cpp, tiny-random, one thread")
        self.fitted.write_text(json.dumps(fitted, indent=1) + "\n")
        say("simulating")
        workloads = {
            "fit": self.compared("fit", fit_runs),
            "heldout": self.compared("heldout", heldout_runs),
        }
        return {
            "machine": machine(),
            "minutes": (time.monotonic() - begin) / 60,
            "engine_model": fitted,
            "fit_quality": quality,
            "workloads": workloads,
            "missed": missed(workloads["heldout"]),
        }

    # ---- measured ----

    def measure_in_turn(self) -> tuple[list[measure.Run], list[measure.Run]]:
        """Fit and held-out runs one after the other in turn: a machine's speed drifts within minutes."""
        fit_runs: list[measure.Run] = []
        heldout_runs: list[measure.Run] = []
        while len(fit_runs) < FIT_RUNS or len(heldout_runs) < self.runs:
            if len(fit_runs) < FIT_RUNS:
                fit_runs.append(self.measured("fit", f"fit workload, run {len(fit_runs) + 1} of {FIT_RUNS}"))
            if len(heldout_runs) < self.runs:
                title = f"held-out workload, run {len(heldout_runs) + 1} of {self.runs}"
                heldout_runs.append(self.measured("heldout", title))
        return fit_runs, heldout_runs

    def measured(self, name: str, title: str) -> measure.Run:
        """A run on a fresh engine. One that other programs disturbed is repeated, and the calmest is kept."""
        jobs = measure.jobs_of(workload.make(workload.PLANS[name]))
        runs: list[measure.Run] = []
        while not runs or (runs[-1].others_cpu > CALM_CPU and len(runs) < ATTEMPTS):
            wait_for_calm()
            say(title if not runs else f"{title}, again: others used {runs[-1].others_cpu:.2f} of a processor")
            with engine.running(self.model, self.out / "engine.log") as server:
                runs.append(measure.replay(server, jobs, title))
            self.measurements += 1
            record = self.out / f"measured-{self.measurements:02}-{name}.json"
            record.write_text(json.dumps(dataclasses.asdict(runs[-1])) + "\n")
        return min(runs, key=lambda run: run.others_cpu)

    # ---- simulated ----

    def simulated(self, name: str) -> list[dict[str, float]]:
        log = self.out / f"{name}-simulated.csv"
        command: list[str | pathlib.Path] = [self.gotoni, "simulate", "--trace", self.trace(name)]
        command += ["--block-tokens", str(workload.BLOCK), "--engine", self.fitted, "--servers", "1"]
        command += ["--rtt", "0", "--upload", "none", "--policy", "round-robin", "--no-oracle", "--seed", "1"]
        command += ["--log", log, "--quiet"]
        done = subprocess.run(command, check=False, capture_output=True, text=True, timeout=SIMULATED_WITHIN_S)
        if done.returncode != 0:
            raise RuntimeError(f"gotoni simulate ended with status {done.returncode}: {done.stderr.strip()}")
        with log.open(newline="") as rows:
            wanted = ("index", "prompt_tokens", "cached_tokens", *FIGURES)
            return [{key: float(row[key] or 0) for key in wanted} for row in csv.DictReader(rows)]

    def compared(self, name: str, runs: Sequence[measure.Run]) -> dict[str, Any]:
        rows = self.simulated(name)
        if len(rows) != len(runs[0].records):
            raise RuntimeError(f"gotoni simulated {len(rows)} of {len(runs[0].records)} requests.")
        return {
            "requests": len(rows),
            "prompt_tokens": sum(record.prompt_tokens for record in runs[0].records),
            "cached_tokens_measured": [sum(record.cached_tokens for record in run.records) for run in runs],
            "cached_tokens_simulated": sum(row["cached_tokens"] for row in rows),
            "figures": [
                figure(key, percent, runs, [row[key] for row in rows]) for key in FIGURES for percent in PERCENTS
            ],
            "simulated": rows,
            "runs": [dataclasses.asdict(run) for run in runs],
        }

    @property
    def fitted(self) -> pathlib.Path:
        return self.out / "fitted.json"

    def trace(self, name: str) -> pathlib.Path:
        return self.out / f"{name}.jsonl"


def figure(key: str, percent: int, runs: Sequence[measure.Run], simulated: Sequence[float]) -> dict[str, Any]:
    """What is measured is the median of the runs; their spread says how far the engine agrees with itself."""
    each = [measure.percentile([getattr(record, key) for record in run.records], percent) for run in runs]
    measured, predicted = statistics.median(each), measure.percentile(simulated, percent)
    return {
        "name": f"{FIGURES[key]} p{percent}",
        "measured_ms": measured,
        "each_run_ms": each,
        "spread_percent": 100 * (max(each) - min(each)) / measured,
        "simulated_ms": predicted,
        "off_percent": 100 * (predicted / measured - 1),
    }


def missed(heldout: dict[str, Any]) -> list[str]:
    figures = {figure["name"]: figure["off_percent"] for figure in heldout["figures"]}
    return [
        f"TTFT p{percent} is off by {figures[f'TTFT p{percent}']:+.1f} %, at most {allowed:.0f} % is allowed"
        for percent, allowed in ALLOWED_PERCENT.items()
        if abs(figures[f"TTFT p{percent}"]) > allowed
    ]


def wait_for_calm() -> None:
    """Waits a while for other programs to leave the machine alone; what they did is in the results either way."""
    deadline = time.monotonic() + CALM_WITHIN_S
    calm = 0
    while calm < 3 and time.monotonic() < deadline:
        before = measure.machine_cpu_seconds()
        time.sleep(1)
        calm = calm + 1 if measure.machine_cpu_seconds() - before < CALM_CPU else 0
        measure.progress("waiting for the machine to be calm")
    measure.progress("")


def machine() -> dict[str, Any]:
    names = [line for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": names[0].partition(":")[2].strip() if names else platform.machine(),
        "processors": os.cpu_count(),
    }


# ===== Output


def say(text: str) -> None:
    measure.progress("")
    print(f"- {text}", file=sys.stderr, flush=True)


def print_report(results: dict[str, Any]) -> None:
    for name, title in (("fit", "Fit workload"), ("heldout", "Held-out workload")):
        print_workload(title, results["workloads"][name])
    print(f"\n{results['minutes']:.1f} minutes on {results['machine']['processor']}")
    for line in results["missed"]:
        print(f"MISSED  {line}")
    if not results["missed"]:
        print("The held-out TTFT is predicted within 10 % at the median and 20 % at the 95th percentile.")


def print_workload(title: str, data: dict[str, Any]) -> None:
    runs = data["runs"]
    spreads = len(runs) > 1
    print(f"\n{title}: {data['requests']} requests, {len(runs)} measured run{'s' if spreads else ''}")
    print(f"{'':<10}{'measured':>12}{'simulated':>12}{'error':>9}{'run to run':>12}" if spreads else
          f"{'':<10}{'measured':>12}{'simulated':>12}{'error':>9}")
    for row in data["figures"]:
        line = f"{row['name']:<10}{row['measured_ms']:>9.1f} ms{row['simulated_ms']:>9.1f} ms{row['off_percent']:>+7.1f} %"
        print(line + (f"{row['spread_percent']:>10.1f} %" if spreads else ""))
    share = [cached / data["prompt_tokens"] for cached in data["cached_tokens_measured"]]
    cached = ", ".join(f"{part:.1%}" for part in share)
    print(f"cached     {cached} measured, {data['cached_tokens_simulated'] / data['prompt_tokens']:.1%} simulated")
    for key, words in (("engine_cpu", "engine"), ("others_cpu", "others")):
        print(f"{words:<11}{', '.join(f'{run[key]:.2f}' for run in runs)} of a processor")
    worst = max(run["others_cpu"] for run in runs)
    if worst > CALM_CPU:
        print(f"DISTURBED  others used up to {worst:.2f} of a processor: repeat on a calm machine before judging")
