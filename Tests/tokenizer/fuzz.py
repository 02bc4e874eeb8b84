"""Random texts, over all vocabularies and over made ones that change all the time: the same ids as `tokenizers`.

Text number N of seed S is always the same (for one --made): `--seed S --first N` begins with it. Ends with 1 if
something differed; then each difference was printed with a small text.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import sys
import time

from tokenizers import Tokenizer

import check_made
import corpus
import grammar
from context import BUILD, Comparison, Encode, by, native, real, reference, specials
from native import Native, Refused

MADE_EVERY = 200  # texts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--made", type=float, default=0.25, help="part of the texts for made tokenizers")
    arguments = parser.parse_args()
    faulthandler.enable()
    print(f"seed {arguments.seed}", flush=True)
    fuzz = Fuzz(arguments.seed, arguments.made)
    end, number = time.monotonic() + arguments.seconds, arguments.first
    report = time.monotonic() + 60
    while time.monotonic() < end and len(fuzz.comparison.found) < 50:
        (BUILD / "fuzz-now").write_text(f"--seed {arguments.seed} --first {number}\n")  # what a crash leaves
        fuzz.text(number)
        number += 1
        if time.monotonic() > report:
            fuzz.say(number - arguments.first)
            report += 60
    fuzz.say(number - arguments.first)
    return 1 if fuzz.comparison.found else 0


class Fuzz:
    """Compares one random text after the other."""

    def __init__(self, seed: int, made: float) -> None:
        self.seed, self.part_of_made = seed, made
        self.rows = real()
        self.comparison = Comparison()
        self.printed = self.refused = self.models = 0
        self.whole = list(corpus.all_texts(seed).values())
        self.which = -1
        self.made: tuple[Encode, Encode, list[str]] | None = None

    def text(self, number: int) -> None:
        chance = random.Random(f"{self.seed} {number}")
        if chance.random() < self.part_of_made:
            self.make(number // MADE_EVERY)
            if not self.made:
                return
            ours, theirs, added = self.made
            name = f"made {number // MADE_EVERY}"
        else:
            row = chance.choice(self.rows)
            ours, theirs = by(native(row.native)), by(reference(row.reference))
            name, added = row.name, specials(reference(row.reference))
        kind = chance.random()
        if kind < 0.1:
            (text,) = corpus.slices(chance.choice(self.whole), chance, 1)
        elif kind < 0.15:
            text = "".join(grammar.text(chance, added) for _ in range(chance.randrange(2, 40)))
        else:
            text = grammar.text(chance, added)
        self.comparison.add(f"{name}, text {number}", text, ours, theirs)
        if kind > 0.97:
            self.bytes(chance, text.encode(), name, number)
        for line in self.comparison.found[self.printed :]:
            print(f"DIFFERENT  {line}; --seed {self.seed} --first {number}", flush=True)
            if self.made and name.startswith("made"):
                place = BUILD / f"fuzz-{self.seed}-{number}.json"
                place.write_text(self.source, encoding="utf-8")
                print(f"           the tokenizer is {place}")
                self.made = None  # one is enough of each
        self.printed = len(self.comparison.found)

    def bytes(self, chance: random.Random, data: bytes, name: str, number: int) -> None:
        """With a few changed: UTF-8 is read, anything else is refused."""
        row = chance.choice(self.rows)
        changed = bytearray(data)
        for _ in range(chance.randrange(1, 4)):
            changed[chance.randrange(len(changed) + 1) : chance.randrange(len(changed) + 1)] = chance.randbytes(1)
        try:
            bytes(changed).decode()
            expected = None
        except UnicodeDecodeError:
            expected = "E_UTF8"
        try:
            native(row.native).encode(bytes(changed))
            found = None
        except Refused as error:
            found = error.status
        if found != expected:
            self.comparison.found.append(f"{bytes(changed)!r} is {found}, not {expected}: {row.name}, bytes {number}")

    def make(self, which: int) -> None:
        """A made tokenizer, always the same for the same number."""
        if self.which == which:
            return
        self.which, self.made = which, None
        chance = random.Random(f"{self.seed} model {which}")
        self.models += 1
        self.source = json.dumps(check_made.random_model(chance), ensure_ascii=False)
        try:
            ours = Native(self.source.encode())
        except Refused:
            self.refused += 1
            return
        theirs = Tokenizer.from_str(self.source)
        self.made = (by(ours), by(theirs), specials(theirs))

    def say(self, texts: int) -> None:
        print(
            f"{texts:,} texts, {self.comparison.bytes:,} bytes, {len(self.comparison.found)} differences;"
            f" {self.models} made models, {self.refused} refused",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
