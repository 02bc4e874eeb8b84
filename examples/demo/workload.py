"""What the users ask: conversations with the assistants of one company, all drawn from one seed.

Nothing here knows of servers or policies, so every policy gets the same requests. Only the moment of a later turn
depends on the answer before it, as with real users: who is served sooner asks sooner.
"""

from __future__ import annotations

import dataclasses
import random

# Without a tokenizer the proxy and the engine both take four bytes for a token.
BYTES_PER_TOKEN = 4
WORDS = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or had an they which "
    "one you were all her she there would their we him been has when who will no more if out so up said what its "
    "about than into them can only other time new some could these two may first then do any like my now over such "
    "our man me even most made after also did many off before must well back through years where much your way down "
    "should because long"
).split()


@dataclasses.dataclass(frozen=True)
class Shape:
    """Sizes are tokens, times seconds. README.md says why these."""

    conversations: int = 48
    span_s: float = 22.0  # in which the conversations begin
    # What each assistant is told before every conversation, and its share of the users: one is in demand, one hardly.
    assistants: tuple[tuple[int, float], ...] = ((2400, 0.6), (2000, 0.3), (1600, 0.1))
    document: int = 2000  # the median of what a conversation begins with
    turn: int = 250  # the median of what each later turn adds
    spread: float = 0.6  # sigma of both, which are lognormal
    more: float = 0.6  # the chance that another turn follows
    most_turns: int = 6
    answer: int = 20  # the median of an answer
    answer_spread: float = 0.5
    pause_s: float = 1.0  # the mean between an answer and the next turn


QUICK = Shape(conversations=7, span_s=1.5, assistants=((2000, 1.0),), more=0.8, most_turns=2, pause_s=0.2)


@dataclasses.dataclass(frozen=True)
class Turn:
    text: str
    answer_tokens: int
    pause_s: float  # from the end of the answer before; none before the first


@dataclasses.dataclass(frozen=True)
class Conversation:
    number: int
    start_s: float
    system: str
    turns: tuple[Turn, ...]


@dataclasses.dataclass(frozen=True)
class Workload:
    systems: tuple[str, ...]
    conversations: tuple[Conversation, ...]  # in the order they begin

    @property
    def requests(self) -> int:
        return sum(len(each.turns) for each in self.conversations)


def draw(shape: Shape, seed: int, again: int | None = None) -> Workload:
    """Conversations begin by chance, in a rush: ever more until half time, twice the average then, fewer after.

    `again` is the seed of other conversations with the same assistants.
    """
    chance = random.Random(seed)
    systems = tuple(prose(chance, tokens) for tokens, _ in shape.assistants)
    if again is not None:
        chance.seed(again)
    shares = [share for _, share in shape.assistants]
    starts = sorted(chance.triangular(0, shape.span_s) for _ in range(shape.conversations))
    conversations = tuple(
        Conversation(number, start, chance.choices(systems, shares)[0], turns(shape, chance))
        for number, start in enumerate(starts)
    )
    return Workload(systems, conversations)


def turns(shape: Shape, chance: random.Random) -> tuple[Turn, ...]:
    found: list[Turn] = []
    while not found or (len(found) < shape.most_turns and chance.random() < shape.more):
        tokens = lognormal(chance, shape.turn if found else shape.document, shape.spread)
        answer = lognormal(chance, shape.answer, shape.answer_spread)
        pause = chance.expovariate(1 / shape.pause_s) if found else 0.0
        found.append(Turn(prose(chance, tokens), answer, pause))
    return tuple(found)


def lognormal(chance: random.Random, median: int, sigma: float) -> int:
    """Within a factor of four of the median: so few requests must not hang on one of them."""
    factor = min(max(chance.lognormvariate(0, sigma), 0.25), 4.0)
    return max(round(median * factor), 1)


def prose(chance: random.Random, tokens: int) -> str:
    size = tokens * BYTES_PER_TOKEN
    return " ".join(chance.choices(WORDS, k=size // 2))[:size]
