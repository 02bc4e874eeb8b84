"""Two workloads in Mooncake's JSONL, made from a seed: one to fit on, and one held out that differs in every way.

Both are conversations: each turn's prompt is the one before, the answer, and something new. Conversations of a workload
share the first blocks, their system prompt. A block is 32 tokens; equal ids are equal prefixes; the partial block that a
prompt may end with has an id of its own, so the next turn shares whole blocks only.

    python workload.py fit fit.jsonl
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import math
import pathlib
import random

import numpy

BLOCK = 32
MOST_PROMPT_TOKENS = 2500
MASK = (1 << 64) - 1


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a workload looks. Lengths are drawn log-normally around a median, and cut to their range."""

    seed: int
    seconds: float
    sessions: int
    burstiness: float  # the coefficient of variation of the time between new conversations; 1 is Poisson
    turns: tuple[int, int]
    think_s: tuple[float, float]  # the least, and the mean of what comes on top
    system_blocks: int
    openings: list[tuple[float, float]]  # of the first question: share, median tokens
    question: float
    spread: float  # the sigma of the logarithm
    answer: tuple[int, int]


PLANS = {
    # Covers the lengths and contexts of the other one: costs must be interpolated, not extrapolated.
    "fit": Plan(
        seed=1,
        seconds=75,
        sessions=46,
        burstiness=1.0,
        turns=(2, 8),
        think_s=(4.0, 5.0),
        system_blocks=1,
        openings=[(0.7, 300), (0.3, 1000)],
        question=120,
        spread=0.9,
        answer=(8, 56),
    ),
    "heldout": Plan(
        seed=4,
        seconds=75,
        sessions=30,
        burstiness=1.5,
        turns=(3, 9),
        think_s=(5.0, 3.0),
        system_blocks=2,
        openings=[(0.65, 180), (0.35, 1200)],
        question=170,
        spread=0.7,
        answer=(16, 64),
    ),
}


@dataclasses.dataclass(frozen=True)
class Request:
    timestamp: int
    input_length: int
    output_length: int
    hash_ids: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workload", choices=PLANS)
    parser.add_argument("path", type=pathlib.Path, help="where the trace goes")
    arguments = parser.parse_args()
    write(make(PLANS[arguments.workload]), arguments.path)


def make(plan: Plan) -> list[Request]:
    """Every row has a timestamp of its own, or readers would have to guess how to spread those that share one."""
    chance = random.Random(plan.seed)
    ids = iter(range(1, 1 << 30))
    system = [next(ids) for _ in range(plan.system_blocks)]
    turns = [turn for start in starts(plan, chance) for turn in conversation(plan, chance, start)]
    held: dict[int, list[int]] = {}  # the whole blocks of a conversation so far
    requests: list[Request] = []
    last = -1
    for second, session, input_length, output_length in sorted(turns):
        blocks = held.setdefault(session, list(system))
        blocks += [next(ids) for _ in range(input_length // BLOCK - len(blocks))]
        partial = [next(ids)] if input_length % BLOCK else []
        last = max(round(second * 1000), last + 1)
        requests.append(Request(last, input_length, output_length, blocks + partial))
    return requests


def starts(plan: Plan, chance: random.Random) -> list[tuple[int, float]]:
    """When each conversation begins: gaps from a gamma distribution, scaled to fill three quarters of the time."""
    shape = 1 / plan.burstiness**2
    gaps = [chance.gammavariate(shape, 1.0) for _ in range(plan.sessions)]
    scale = 0.75 * plan.seconds / sum(gaps)
    second = 0.0
    result: list[tuple[int, float]] = []
    for session, gap in enumerate(gaps):
        second += gap * scale
        result.append((session, second))
    return result


def conversation(
    plan: Plan, chance: random.Random, start: tuple[int, float]
) -> list[tuple[float, int, int, int]]:
    """Its turns until the time or the context is over: second, session, prompt tokens, answer tokens."""
    session, second = start
    shares = [share for share, _ in plan.openings]
    median = chance.choices([median for _, median in plan.openings], shares)[0]
    input_length = plan.system_blocks * BLOCK + length(chance, median, plan.spread, 160 * plan.system_blocks, 1900)
    turns: list[tuple[float, int, int, int]] = []
    for _ in range(chance.randint(*plan.turns)):
        if second > plan.seconds or input_length > MOST_PROMPT_TOKENS:
            break
        output_length = chance.randint(*plan.answer)
        turns.append((second, session, input_length, output_length))
        second += plan.think_s[0] + chance.expovariate(1 / plan.think_s[1])
        input_length += output_length + length(chance, plan.question, plan.spread, 16, 900)
    return turns


def length(chance: random.Random, median: float, spread: float, least: int, most: int) -> int:
    return min(max(round(chance.lognormvariate(math.log(median), spread)), least), most)


def write(requests: list[Request], path: pathlib.Path) -> None:
    path.write_text("".join(json.dumps(dataclasses.asdict(request)) + "\n" for request in requests))


# ===== Tokens


def prompt(request: Request, first_token: int, tokens: int, salt: int = 0) -> list[int]:
    """The prompt's token ids: those of its blocks one after the other, cut to its length."""
    ids = [id for hash_id in request.hash_ids for id in block(hash_id, first_token, tokens, salt)]
    return ids[: request.input_length]


def block(hash_id: int, first_token: int, tokens: int, salt: int) -> list[int]:
    first = numpy.uint64((hash_id * (1 << 20) + salt) & MASK)
    mixed = splitmix64(numpy.arange(BLOCK, dtype=numpy.uint64) + first)
    return (mixed % numpy.uint64(tokens) + numpy.uint64(first_token)).tolist()


def splitmix64(x: numpy.ndarray) -> numpy.ndarray:
    x = x + numpy.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return x ^ (x >> numpy.uint64(31))


# ===== What the prompts share


def reusable_tokens(requests: list[Request]) -> list[int]:
    """Of each prompt, the tokens of whole blocks that an earlier prompt began with: what an endless cache would hold."""
    seen: set[int] = set()
    result: list[int] = []
    for request in requests:
        known = 0
        while known < len(request.hash_ids) and request.hash_ids[known] in seen:
            known += 1
        result.append(min(known * BLOCK, request.input_length - 1))
        seen.update(request.hash_ids)
    return result


if __name__ == "__main__":
    main()
