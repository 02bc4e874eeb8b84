"""Fits the simulator's engine model to the engine: lone prompts, lone batches of answers, then the fit workload.

    with engine.running(...) as url:
        calibration = fit.calibrate(url)
    fitted = fit.solve(calibration)
"""

from __future__ import annotations

import dataclasses
import random
import statistics

import numpy

import engine
import measure
import model

PROMPTS = [32, 64, 128, 256, 400, 512, 640, 800, 1024, 1300, 1536, 1800, 2048, 2400]
PROMPT_ROUNDS = 3
BATCHES = [1, 2, 4, 8, 16]
CONTEXTS = [200, 800, 1800]
ANSWER = 40


@dataclasses.dataclass
class LonePrompt:
    tokens: int
    ttft_ms: float


@dataclasses.dataclass
class Batch:
    """How long an iteration takes in which so many requests decode and nothing else happens."""

    requests: int
    context: float
    iteration_ms: float


@dataclasses.dataclass
class Calibration:
    prompts: list[LonePrompt]
    batches: list[Batch]


def calibrate(url: str) -> Calibration:
    chance = random.Random(7)
    return Calibration(lone_prompts(url, chance), batches(url, chance))


def lone_prompts(url: str, chance: random.Random) -> list[LonePrompt]:
    jobs: list[measure.Job] = []
    second = 0.0
    for _ in range(PROMPT_ROUNDS):
        for tokens in chance.sample(PROMPTS, len(PROMPTS)):
            jobs.append(measure.Job(second * 1000, random_prompt(tokens, chance), 1))
            second += 0.05 + tokens * 0.0007
    records = measure.replay(url, jobs, "lone prompts").records
    return [
        LonePrompt(tokens, statistics.median(r.ttft_ms - r.late_ms for r in records if r.prompt_tokens == tokens))
        for tokens in PROMPTS
    ]


def batches(url: str, chance: random.Random) -> list[Batch]:
    """The same prompts again and again, so that after the first time they are cached and only answers cost time."""
    result: list[Batch] = []
    for context in CONTEXTS:
        prompts = [random_prompt(context, chance) for _ in range(max(BATCHES))]
        measure.replay(url, [measure.Job(0, prompt, 1) for prompt in prompts], "filling the cache")
        for requests in BATCHES:
            jobs = [measure.Job(0, prompt, ANSWER) for prompt in prompts[:requests]]
            records = measure.replay(url, jobs, f"{requests} answers at once").records
            result.append(Batch(requests, context + ANSWER / 2, together_ms(records)))
    return result


def together_ms(records: list[measure.Record]) -> float:
    """The median gap between tokens while all requests decode."""
    begin = max(record.token_ms[0] for record in records)
    end = min(record.token_ms[-1] for record in records)
    gaps = [
        later - earlier
        for record in records
        for earlier, later in zip(record.token_ms, record.token_ms[1:])
        if begin <= earlier + 0.5 and later <= end + 0.5
    ]
    return statistics.median(gaps)


def random_prompt(tokens: int, chance: random.Random) -> list[int]:
    return [model.FIRST_WORD + chance.randrange(model.WORDS) for _ in range(tokens)]
