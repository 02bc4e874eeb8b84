"""gotoni.Tokenizer beside `tokenizers` and tiktoken on the same texts, with thresholds that fail.

Prints a table and writes JSON. Exit status: 0 all thresholds hold, 1 some are missed (each is named), 2 a measurement
failed or ids differ.
"""

from __future__ import annotations

import argparse
import json
import os
import pathlib
import platform
import random
import statistics
import sys
import time
from typing import Any, Callable

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]

# One thread, everywhere: these are read when a library starts.
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"

SEED = 20_260_101
CHARACTERS = 100_000  # of each text: a prompt of some 25,000 tokens
ONCE = ("deepseek", "qwen.tiktoken", "tekken-240911", "anthropic", "gpt2", "o200k")
NO_CACHE = 1  # byte of memory for messages: not one fits, so every message is encoded

COLD_TIMES = 10  # faster than tokenizers, at least
WARM_TIMES = 20
LONG_TOKENS, LONG_MS = 100_000, 60
CHAT_TOKENS, CHAT_MS = 20_000, 1


def main() -> int:
    arguments = parse_arguments()
    os.environ["GOTONI_TOKENIZER_LIBRARY"] = str(arguments.library.resolve(strict=True))
    sys.path[:0] = [str(REPOSITORY / "bindings" / "python"), str(REPOSITORY / "Tests" / "tokenizer")]
    import vocabularies

    known = {vocabulary.name: vocabulary for vocabulary in vocabularies.prepare(arguments.vocabularies)}
    names = [name for name in ONCE if not arguments.only or arguments.only in name]
    try:
        rows, whole = [], []
        for name in names:
            bench = Bench(known[name], arguments.rounds)
            rows += bench.texts()
            whole += bench.long_prompts()
    except Different as error:
        say(str(error))
        return 2
    results = {
        "machine": machine(),
        "rounds": arguments.rounds,
        "seed": SEED,
        "rows": rows,
        "prompts": whole,
        "overall": overall(rows),
    }
    results["missed"] = missed(results)
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        arguments.json.write_text(json.dumps(results, indent=1) + "\n")
    print_report(results)
    return 1 if results["missed"] else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--library", type=pathlib.Path, required=True, help="libgotoni-tokenizer.so.0")
    parser.add_argument("--vocabularies", type=pathlib.Path, required=True, help="a folder; what it lacks is fetched")
    parser.add_argument("--json", type=pathlib.Path, help="where the results go")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--only", default="", help="vocabularies with this in their name")
    return parser.parse_args()


class Different(Exception):
    """Ids are not those of `tokenizers`: nothing else matters then."""


class Bench:
    """The measurements of one vocabulary. Whoever is compared takes turns, so a slow moment hits all."""

    def __init__(self, vocabulary: Any, rounds: int) -> None:
        import gotoni
        import tiktoken
        import tokenizers
        import vocabularies

        say(vocabulary.name)
        self.name = vocabulary.name
        self.rounds = rounds
        self.make = lambda cache_bytes=NO_CACHE: gotoni.Tokenizer(vocabulary.native, cache_bytes=cache_bytes)
        self.theirs = tokenizers.Tokenizer.from_file(str(vocabulary.reference))
        self.tiktoken = None
        if vocabulary.ranks:
            ranks = vocabularies.read_ranks(vocabulary.ranks)
            self.tiktoken = tiktoken.Encoding(
                vocabulary.name, pat_str=vocabulary.pattern, mergeable_ranks=ranks, special_tokens={}
            )

    # ---- ratios ----

    def texts(self) -> list[dict[str, Any]]:
        import texts

        chance = random.Random(SEED)
        return [
            self.text("prose", *halves(texts.prose())),
            self.text("code", *halves(texts.code())),
            self.text("languages", *halves(texts.multilingual(chance, 2 * CHARACTERS))),
            self.text("mixed", *halves(texts.mixed(chance, 2 * CHARACTERS))),
        ]

    def text(self, title: str, text: str, other: str) -> dict[str, Any]:
        """Cold: nothing seen. Warm: the same text a moment ago. Kin: `other`, of the same kind, a moment ago."""
        self.compare(text)
        times: dict[str, list[float]] = {}

        def add(key: str, work: Callable[[], Any]) -> None:
            times.setdefault(key, []).append(seconds(work))

        def encode() -> None:
            self.theirs.encode(text, add_special_tokens=False)

        def fast() -> None:
            self.theirs.encode_batch_fast([text], add_special_tokens=False)

        for _ in range(self.rounds):
            for name, work in (("encode", encode), ("fast", fast)):
                self.theirs.model._clear_cache()
                add(f"{name}_cold", work)
                add(f"{name}_warm", work)
            with self.make() as ours:
                add("ours_cold", lambda: ours.encode(text))
                add("ours_warm", lambda: ours.encode(text))
            with self.make() as ours:
                ours.encode(other)
                add("ours_kin", lambda: ours.encode(text))
            if self.tiktoken:
                add("tiktoken", lambda: self.tiktoken.encode_ordinary(text))
        medians = {key: statistics.median(values) * 1000 for key, values in times.items()}
        row = {
            "vocabulary": self.name,
            "text": title,
            "bytes": len(text.encode()),
            "tokens": self.count(text),
            "ms": medians,
        }
        row["cold_ratio"] = min(medians["encode_cold"], medians["fast_cold"]) / medians["ours_cold"]
        row["warm_ratio"] = min(medians["encode_warm"], medians["fast_warm"]) / medians["ours_warm"]
        return row

    def compare(self, text: str) -> None:
        with self.make() as ours:
            if ours.encode(text).tolist() != self.theirs.encode(text, add_special_tokens=False).ids:
                raise Different(f"{self.name}: ids differ from those of tokenizers; run Tests/tokenizer")

    # ---- times ----

    def long_prompts(self) -> list[dict[str, Any]]:
        """A body of 100,000 tokens that nobody has seen, and a chat of 20,000 of which only the last message is new."""
        import texts

        chance = random.Random(SEED)
        text = self.cut(texts.mixed(chance, LONG_TOKENS * 5), LONG_TOKENS)
        self.compare(text)
        times = []
        for _ in range(self.rounds):
            cold = self.make(0)
            times.append(seconds(lambda: cold.encode(text)))
        found = [self.prompt("cold", text, times, LONG_MS)]
        if (name := self.name.split(".")[0]) in texts.MARKS:
            messages = texts.messages(chance, 40, CHAT_TOKENS * 5 // 40)
            while self.count(texts.rendered(name, messages)) > CHAT_TOKENS:
                messages.pop()
            while self.count(texts.rendered(name, messages)) < CHAT_TOKENS:
                messages.append(texts.mixed(chance, 400))
            messages = messages[:-1]
            times, theirs = [], []
            warm = self.make(0)
            warm.encode(texts.rendered(name, messages))
            for _ in range(2 * self.rounds):
                prompt = texts.rendered(name, [*messages, texts.mixed(chance, 800)])
                times.append(seconds(lambda: warm.encode(prompt)))
                theirs.append(seconds(lambda: self.theirs.encode_batch_fast([prompt], add_special_tokens=False)))
            self.compare(prompt)
            found.append({**self.prompt("chat", prompt, times, CHAT_MS), "theirs_ms": 1000 * statistics.median(theirs)})
        return found

    def prompt(self, title: str, text: str, times: list[float], most: float) -> dict[str, Any]:
        return {
            "vocabulary": self.name,
            "prompt": title,
            "bytes": len(text.encode()),
            "tokens": self.count(text),
            "ms": 1000 * statistics.median(times),
            "slowest_ms": 1000 * max(times),
            "most_ms": most,
        }

    def cut(self, text: str, tokens: int) -> str:
        """The beginning of `text` with no more than `tokens` tokens."""
        low, high = 0, len(text)
        with self.make() as ours:
            while high - low > 16:
                middle = (low + high) // 2
                if ours.count(text[:middle]) <= tokens:
                    low = middle
                else:
                    high = middle
        return text[:low]

    def count(self, text: str) -> int:
        with self.make() as ours:
            return ours.count(text)


def halves(text: str) -> tuple[str, str]:
    return text[:CHARACTERS], text[CHARACTERS : 2 * CHARACTERS]


def seconds(work: Callable[[], Any]) -> float:
    """Of this thread, which does all the work on both sides: what else the machine does counts little."""
    start = time.thread_time()
    work()
    return time.thread_time() - start


# ---- results ----


def overall(rows: list[dict[str, Any]]) -> dict[str, float]:
    """Of all texts together: the sums of the medians."""
    total = {key: sum(row["ms"][key] for row in rows) for key in rows[0]["ms"] if key != "tiktoken"}
    return {
        "cold_ratio": min(total["encode_cold"], total["fast_cold"]) / total["ours_cold"],
        "warm_ratio": min(total["encode_warm"], total["fast_warm"]) / total["ours_warm"],
    }


def missed(results: dict[str, Any]) -> list[str]:
    lines = []
    for row in [*results["rows"], {"vocabulary": "all", "text": "texts", **results["overall"]}]:
        for key, least in (("cold_ratio", COLD_TIMES), ("warm_ratio", WARM_TIMES)):
            if row[key] < least:
                lines.append(
                    f"{row['vocabulary']}, {row['text']}: {key} is {row[key]:.1f}, at least {least} is required"
                )
    for row in results["prompts"]:
        if row["ms"] > row["most_ms"]:
            lines.append(
                f"{row['vocabulary']}, {row['prompt']}, {row['tokens']:,} tokens: {row['ms']:.2f} ms,"
                f" at most {row['most_ms']} is allowed"
            )
    return lines


def machine() -> dict[str, Any]:
    model = "unknown processor"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    return {"processor": model, "cores": os.cpu_count(), "python": platform.python_version()}


# ---- terminal ----


def say(text: str) -> None:
    print(f"bench: {text}", file=sys.stderr, flush=True)


def print_report(results: dict[str, Any]) -> None:
    about = results["machine"]
    print(f"\n{about['processor']}, {about['cores']} cores; medians of {results['rounds']} rounds, ms")
    print(f"\n{'':24}{'':>8}  {'cold':^39}  {'warm':^47}")
    print(
        f"{'vocabulary, text':24}{'tokens':>8}  {'encode':>8} {'fast':>8} {'ours':>7} {'ratio':>6}       "
        f"{'encode':>8} {'fast':>8} {'ours':>7} {'ratio':>6} {'kin':>7}  {'tiktoken':>8}  {'ours MB/s':>9}"
    )
    for row in results["rows"]:
        ms = row["ms"]
        tiktoken = f"{ms['tiktoken']:8.1f}" if "tiktoken" in ms else f"{'–':>8}"
        print(
            f"{row['vocabulary'] + ', ' + row['text']:24}{row['tokens']:>8,}"
            f"  {ms['encode_cold']:8.1f} {ms['fast_cold']:8.1f} {ms['ours_cold']:7.2f} {row['cold_ratio']:6.1f}      "
            f" {ms['encode_warm']:8.1f} {ms['fast_warm']:8.1f} {ms['ours_warm']:7.2f} {row['warm_ratio']:6.1f}"
            f" {ms['ours_kin']:7.2f}  {tiktoken}  {row['bytes'] / ms['ours_warm'] / 1000:9.1f}"
        )
    print(
        f"{'all':24}{'':>8}  {'':26}{results['overall']['cold_ratio']:6.1f}{'':33}{results['overall']['warm_ratio']:6.1f}"
    )
    print(f"\n{'whole prompts':24}{'tokens':>8}  {'median':>8} {'slowest':>8} {'allowed':>8} {'tokenizers':>11}")
    for row in results["prompts"]:
        theirs = f"{row['theirs_ms']:11.1f}" if "theirs_ms" in row else ""
        print(
            f"{row['vocabulary'] + ', ' + row['prompt']:24}{row['tokens']:>8,}"
            f"  {row['ms']:8.2f} {row['slowest_ms']:8.2f} {row['most_ms']:8} {theirs}"
        )
    print()
    for line in results["missed"]:
        print(f"MISSED  {line}")
    print(f"{len(results['missed'])} thresholds missed." if results["missed"] else "All thresholds hold.")


if __name__ == "__main__":
    sys.exit(main())
