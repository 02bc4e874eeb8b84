#!/usr/bin/env python3
"""Makes prompts for GuideLLM, and the places of who asked them, from WildChat: see geo/README.md."""

from __future__ import annotations

import argparse
import itertools
import json
import pathlib
import signal
import sys
from typing import Sequence

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "geo"))

from errors import GeoError  # noqa: E402
from prepare import Preparation, Wishes  # noqa: E402
from rows import read_rows  # noqa: E402
from settings import whole  # noqa: E402

PROMPTS = "wildchat_guidellm.jsonl"
LOOKUP = "wildchat_location_lookup.json"
DESCRIPTION = f"""\
Writes {PROMPTS}, prompts for GuideLLM, and {LOOKUP}, where their users live, for geo_proxy.py.

A prompt's place is kept under a key made of its first 100 characters and its length, so two prompts can have the same
key. Both are written; the place of a key is that of its first prompt, and the report counts the others. Dropped, and
counted by the report, is what is too short or out of the range of turns, a conversation without a message of the user,
and, without --multi-turn, a prompt that is itself JSON of a conversation, which the proxy would send as one.

Needs: Python 3.11; pyarrow to read .parquet (benchmark/geo/requirements.txt); datasets, and the network, without
--input. Ctrl-C and SIGTERM leave no half of a file.

Exit status: 0, or 1 if no prompt was kept (nothing is written), or 2 if the input cannot be read; stderr says why."""
MOST = 10**9


def arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="prepare_wildchat.py",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--input", metavar="FILE", type=pathlib.Path,
                        help=".parquet, .jsonl or .jsonl.gz with rows as WildChat-1M has them; "
                        "without it allenai/WildChat-1M is streamed from Hugging Face")  # fmt: skip
    parser.add_argument("--num-samples", metavar="N", type=whole(1, MOST), default=10000,
                        help="most conversations to read (10000)")  # fmt: skip
    parser.add_argument("--output-dir", metavar="DIR", type=pathlib.Path, default=pathlib.Path("."),
                        help="where both files go; it is made if it is not there (.)")  # fmt: skip
    parser.add_argument("--min-prompt-length", metavar="N", type=whole(0, MOST), default=10,
                        help="shorter prompts, in characters, are dropped (10)")  # fmt: skip
    parser.add_argument("--multi-turn", action="store_true",
                        help="one prompt for each user message, with all that was said before it; "
                        "without it the first user message alone")  # fmt: skip
    parser.add_argument("--min-turns", metavar="N", type=whole(1, MOST), default=1,
                        help="with --multi-turn: the first user message of a conversation to take (1)")  # fmt: skip
    parser.add_argument("--max-turns", metavar="N", type=whole(1, MOST),
                        help="with --multi-turn: the last one; without it all")  # fmt: skip
    parser.add_argument("--json", action="store_true", help="the report as one JSON object")
    return parser.parse_args(words)


def main(words: Sequence[str]) -> int:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    given = arguments(words)
    try:
        return prepare(given)
    except (GeoError, OSError) as error:
        print(f"prepare_wildchat: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def prepare(given: argparse.Namespace) -> int:
    if given.max_turns is not None and given.max_turns < given.min_turns:
        raise GeoError(f"--max-turns {given.max_turns} is less than --min-turns {given.min_turns}")
    if not given.multi_turn and (given.min_turns != 1 or given.max_turns is not None):
        raise GeoError("--min-turns and --max-turns need --multi-turn")
    preparation = Preparation(Wishes(given.min_prompt_length, given.multi_turn, given.min_turns, given.max_turns))
    rows = itertools.islice(read_rows(given.input), given.num_samples)
    given.output_dir.mkdir(parents=True, exist_ok=True)
    # Both files get their names when they are complete, so what is there is never half of something.
    prompts, lookup = given.output_dir / f"{PROMPTS}.part", given.output_dir / f"{LOOKUP}.part"
    try:
        with prompts.open("w", encoding="utf-8") as file:
            for entry in preparation.entries(rows):
                file.write(json.dumps(entry) + "\n")
        lookup.write_text(json.dumps(preparation.lookup, indent=1) + "\n", encoding="utf-8")
        kept = preparation.report.prompts_written > 0
        if kept:
            prompts.replace(given.output_dir / PROMPTS)
            lookup.replace(given.output_dir / LOOKUP)
    finally:
        prompts.unlink(missing_ok=True)
        lookup.unlink(missing_ok=True)
    report = preparation.report
    print(json.dumps(report.fields()) if given.json else report.text())
    if not kept:
        print("prepare_wildchat: no prompt was kept, and nothing is written", file=sys.stderr)
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
