"""Micro benchmarks of the C library, beside gorgo-lb 0.2.0, with thresholds that fail.

Compiles micro.c and its neighbours, runs every measurement, prints tables, writes JSON, and compares with
thresholds.json. Exit status: 0 all thresholds hold, 1 some are missed (each is named), 2 a measurement failed.
"""

import argparse
import json
import os
import pathlib
import platform
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PYTHON_PACKAGE = HERE.parents[1] / "bindings" / "python"

TOKENS = [1000, 8000, 20000]
SERVERS = [3, 16, 128]


class Plan:
    """How much of everything. Both sides of a row get the same prompts: `warmed` untimed, then `timed`."""

    def __init__(self, quick):
        self.rounds = 1 if quick else 5
        self.warmed = 100 if quick else 400
        self.timed = 50 if quick else 400
        self.match_calls = 2_000 if quick else 20_000
        self.contention_calls = 500 if quick else 5_000
        self.allocation_calls = 1_000 if quick else 10_000
        self.held_tokens = 2_000_000 if quick else 24_000_000
        self.gorgo_memory_prompts = 200 if quick else 800
        self.many_servers_calls = 500 if quick else 5_000
        self.python_calls = 2_000 if quick else 20_000


def main():
    arguments = parse_arguments()
    plan = Plan(arguments.quick)
    try:
        bench = Bench(arguments, plan)
        results = bench.run()
    except (OSError, RuntimeError) as error:
        say(f"bench: {error}")
        return 2
    results["missed"] = [] if arguments.quick else missed_thresholds(results["figures"])
    arguments.out.parent.mkdir(parents=True, exist_ok=True)
    arguments.out.write_text(json.dumps(results, indent=1) + "\n")
    print_report(results)
    if arguments.quick:
        print("\nA quick run is a smoke test: thresholds are not judged.")
        return 0
    for line in results["missed"]:
        print(f"MISSED  {line}")
    print("\nAll thresholds hold." if not results["missed"] else f"\n{len(results['missed'])} thresholds missed.")
    return 1 if results["missed"] else 0


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, required=True, help="the shared library to measure")
    parser.add_argument("--include", type=pathlib.Path, required=True, help="the folder of gotoni.h")
    parser.add_argument("--build", type=pathlib.Path, required=True, help="a folder for the program and prompts")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="where the results go")
    parser.add_argument("--quick", action="store_true", help="a smoke run of a few seconds; judges no threshold")
    return parser.parse_args()


class Bench:
    """Runs the measurements one after the other, never two at a time, and says what it is doing."""

    def __init__(self, arguments, plan):
        self.library = arguments.library.resolve(strict=True)
        self.include = arguments.include.resolve(strict=True)
        self.build = arguments.build.resolve()
        self.plan = plan
        self.build.mkdir(parents=True, exist_ok=True)

    def run(self):
        self.compile()
        rows = self.rows()
        results = {
            "machine": machine(),
            "rounds": self.plan.rounds,
            "rows": rows,
            "match": middle(self.repeated("match", self.plan.match_calls), "p99_over_median"),
            "contention": best(self.repeated("contention", self.plan.contention_calls), "median_us"),
            "allocations": self.once("heap allocations", "allocations", self.plan.allocation_calls),
            "memory": [self.once(f"memory at {t:,} tokens", "memory", t, self.plan.held_tokens) for t in TOKENS],
            "gorgo_lb_memory": self.gorgo_memory(8000),
            "many_servers": lowest_of_each(self.repeated("many-servers", self.plan.many_servers_calls)),
            "floor": [self.once(f"hashing alone at {t:,} tokens", "floor", t) for t in TOKENS],
            "python": self.python(),
        }
        results["figures"] = figures(results)
        return results

    # ---- the measurements ----

    def rows(self):
        """Ours, theirs, ours, theirs ...: a slow minute of the machine then hits both."""
        for tokens in TOKENS:
            say(f"prompts of {tokens:,} tokens")
            self.micro("prompts", self.prompt_file(tokens), tokens, self.plan.warmed + self.plan.timed)
        cells = {(tokens, servers): ([], []) for tokens in TOKENS for servers in SERVERS}
        for number in range(self.plan.rounds):
            for (tokens, servers), (ours, theirs) in cells.items():
                say(f"round {number + 1} of {self.plan.rounds}: {tokens:,} tokens, {servers} servers")
                same = ("rows", self.prompt_file(tokens), tokens, servers, self.plan.warmed, self.plan.timed)
                ours.append(self.micro(*same))
                theirs.append(self.gorgo(*same))
        return [row(*cell, ours, theirs) for cell, (ours, theirs) in cells.items()]

    def gorgo_memory(self, tokens):
        say("memory of gorgo-lb")
        count = self.plan.gorgo_memory_prompts
        path = self.build / "prompts-memory.bin"
        self.micro("prompts", path, tokens, count)
        return self.gorgo("memory", path, tokens, count)

    def python(self):
        say("route called from Python")
        environment = {"PYTHONPATH": str(PYTHON_PACKAGE), "GOTONI_LIBRARY": str(self.library)}
        command = [sys.executable, HERE / "python_route.py", self.plan.python_calls]
        rounds = [run_json(command, environment) for _ in range(self.plan.rounds)]
        return {kind: lowest_of_each([r[kind] for r in rounds]) for kind in rounds[0]}

    def once(self, title, *command):
        say(title)
        return self.micro(*command)

    def repeated(self, *command):
        rounds = self.plan.rounds
        return [self.once(f"{command[0]}, round {n + 1} of {rounds}", *command) for n in range(rounds)]

    # ---- the programs ----

    def compile(self):
        say("compiling")
        flags = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-O2", "-Wall", "-Wextra", "-Wpedantic", "-pthread"]
        # The executable's malloc must be visible to the library: --export-dynamic.
        link = [self.library, f"-Wl,-rpath,{self.library.parent}", "-Wl,--export-dynamic"]
        sources = sorted(HERE.glob("*.c"))
        compiler = os.environ.get("CC", "cc").split()
        run_text([*compiler, *flags, f"-I{self.include}", *sources, *link, "-o", self.build / "micro"])

    def micro(self, *arguments):
        return run_json([self.build / "micro", *arguments])

    def gorgo(self, *arguments):
        return run_json([sys.executable, HERE / "gorgo_lb.py", *arguments])

    def prompt_file(self, tokens):
        return self.build / f"prompts-{tokens}.bin"


# ---- programs ----


def run_text(command, environment=None):
    words = [str(word) for word in command]
    environment = {**os.environ, **(environment or {})}
    done = subprocess.run(words, check=False, capture_output=True, text=True, env=environment)
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(words)}\nended with status {done.returncode}\n{done.stderr.strip()}")
    return done.stdout


def run_json(command, environment=None):
    """The line of JSON that a measurement prints; None for a program that prints nothing."""
    text = run_text(command, environment)
    return json.loads(text) if text.strip() else None


# ---- results ----


def row(tokens, servers, ours, theirs):
    """Per round the median of the operations; of these the lowest, on both sides. p99 likewise."""
    ours_us, gorgo_us = lowest(ours, "median_us"), lowest(theirs, "median_us")
    return {
        "tokens": tokens,
        "servers": servers,
        "ours_us": ours_us,
        "ours_p99_us": lowest(ours, "p99_us"),
        "gorgo_lb_us": gorgo_us,
        "gorgo_lb_p99_us": lowest(theirs, "p99_us"),
        "ratio": gorgo_us / ours_us,
        "ours_rounds": ours,
        "gorgo_lb_rounds": theirs,
    }


def lowest(rounds, key):
    return min(r[key] for r in rounds)


def lowest_of_each(rounds):
    """For times: the lowest of each figure, as in `row`; all rounds beside it."""
    return {**{key: lowest(rounds, key) for key in rounds[0]}, "rounds": rounds}


def best(rounds, key):
    """For figures that belong together: the whole round with the lowest `key`; all rounds beside it."""
    return {**min(rounds, key=lambda r: r[key]), "rounds": rounds}


def middle(rounds, key):
    """For a figure that must hold in most rounds and not in the luckiest: the round with the median `key`."""
    return {**sorted(rounds, key=lambda r: r[key])[len(rounds) // 2], "rounds": rounds}


def figures(results):
    """Every number under one dotted name, such as rows.8000.128.ratio: the names that thresholds.json uses."""
    single = ("match", "contention", "allocations", "gorgo_lb_memory", "many_servers", "python")
    tree = {name: results[name] for name in single}
    tree["rows"] = {f"{r['tokens']}.{r['servers']}": r for r in results["rows"]}
    tree["memory"] = {str(m["tokens"]): m for m in results["memory"]}
    tree["floor"] = {str(f["tokens"]): f for f in results["floor"]}
    return dict(leaves(tree))


def leaves(tree, prefix=""):
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        elif isinstance(value, (int, float)):
            yield prefix + key, value


def missed_thresholds(figures):
    """A threshold without a figure is missed too: a renamed measurement must not pass in silence."""
    missed = []
    for name, bounds in json.loads((HERE / "thresholds.json").read_text()).items():
        value = figures.get(name)
        if value is None:
            missed.append(f"{name}: no such figure")
        elif "max" in bounds and value > bounds["max"]:
            missed.append(f"{name} is {value:.4g}, at most {bounds['max']} is allowed")
        elif "min" in bounds and value < bounds["min"]:
            missed.append(f"{name} is {value:.4g}, at least {bounds['min']} is required")
    return missed


def machine():
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


# ---- terminal ----


def say(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def print_report(r):
    print(f"\n{r['machine']['processor']}, {r['machine']['cores']} cores; best of {r['rounds']} rounds")
    print_rows(r["rows"])
    match, contention, many = r["match"], r["contention"], r["many_servers"]
    print_list("match, 8 threads on one router, 8,000 tokens, 128 servers", [
        ("median / p99", microseconds(match, "median_us", "p99_us")),
        ("p99 over median", f"{match['p99_over_median']:.2f}"),
        ("p99 over median, all rounds", " ".join(f"{x['p99_over_median']:.2f}" for x in match["rounds"])),
        ("one thread alone, median / p99", microseconds(match, "alone_median_us", "alone_p99_us")),
    ])
    print_list("route + commit + finish on one router, 8,000 tokens, 128 servers", [
        ("1 thread", f"{contention['alone_per_second']:,.0f} /s"),
        ("8 threads", f"{contention['per_second']:,.0f} /s"),
    ])
    print_list(f"heap allocations in {r['allocations']['calls']:,} calls", [
        (f"{call}, trie {state}", r["allocations"][state][call])
        for state in ("growing", "evicting")
        for call in ("route_commit_finish", "route", "match", "explain")
    ])
    print_list("bytes per token held: process growth / the router's own account", [
        *((f"{m['tokens']:,} tokens", f"{m['rss_bytes_per_token']:.3f} / {m['stats_bytes_per_token']:.3f}")
          for m in r["memory"]),
        ("gorgo-lb, 8,000 tokens", f"{r['gorgo_lb_memory']['rss_bytes_per_token']:.3f}"),
    ])
    print_list("route among 10,000 servers, 8,000 tokens, median / p99", [
        ("each group's prefix on 500 servers", microseconds(many, "median_us", "p99_us")),
        ("first blocks on all servers as well", microseconds(many, "common_median_us", "common_p99_us")),
    ])
    print_list("Router.route from Python, 4,096 tokens, 8 servers, median / p99", [
        (kind, microseconds(r["python"][kind], "median_us", "p99_us")) for kind in ("numpy", "array")
    ])
    print_list("floor: block hashing alone", [
        (f"{x['tokens']:,} tokens", "xxhash.h is missing" if x["median_us"] is None else f"{x['median_us']:.2f} us")
        for x in r["floor"]
    ])


def microseconds(figures, median, p99):
    return f"{figures[median]:.2f} / {figures[p99]:.2f} us"


def print_rows(rows):
    print("\nroute + commit beside gorgo-lb 0.2.0 route gorgo-2d + insert, us per prompt")
    print(f"  {'tokens':>7} {'servers':>8} {'ours':>9} {'ours p99':>9} {'gorgo-lb':>10} {'ratio':>7}")
    for r in rows:
        print(f"  {r['tokens']:>7,} {r['servers']:>8} {r['ours_us']:>9.2f} {r['ours_p99_us']:>9.2f} "
              f"{r['gorgo_lb_us']:>10.1f} {r['ratio']:>7.1f}")


def print_list(title, pairs):
    print(f"\n{title}")
    width = max(len(name) for name, _ in pairs)
    for name, value in pairs:
        print(f"  {name:<{width}}  {value}")


if __name__ == "__main__":
    sys.exit(main())
