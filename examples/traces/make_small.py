"""Writes small.jsonl: long conversations in Mooncake's trace format, the same bytes every time.

    python3 examples/traces/make_small.py > examples/traces/small.jsonl

Forty sessions of four applications. The sessions of an application begin with the same system prompt; every
turn sends the whole conversation so far plus a new message or tool result. A hash id names a block of 512
tokens together with all that precedes it, so equal ids are equal prefixes. The last block of a prompt is
partly filled and gets an id of its own.
"""
import heapq
import itertools
import json
import random

SEED = 2026
BLOCK = 512
SESSIONS = 40
SYSTEM_PROMPT_BLOCKS = (4, 6, 9, 12)  # one entry per application
MEAN_SECONDS_BETWEEN_SESSIONS = 3.0
MEAN_SECONDS_BETWEEN_TURNS = 6.0


class Session:
    def __init__(self, system_prompt: list[int], chance: random.Random) -> None:
        self.chance = chance
        self.blocks = list(system_prompt)
        self.length = len(system_prompt) * BLOCK
        self.turns_left = chance.randint(4, 16)

    def turn(self, new_id: "itertools.count[int]") -> dict[str, object]:
        """Appends a message, gives the request it makes, and appends the answer."""
        self.turns_left -= 1
        self._grow(self.chance.randint(60, 1500), new_id)
        output_length = self.chance.randint(20, 400)
        request = {
            "input_length": self.length,
            "output_length": output_length,
            "hash_ids": self.blocks + [next(new_id)] * (self.length % BLOCK > 0),
        }
        self._grow(output_length, new_id)
        return request

    def _grow(self, tokens: int, new_id: "itertools.count[int]") -> None:
        self.length += tokens
        while len(self.blocks) < self.length // BLOCK:
            self.blocks.append(next(new_id))


def main() -> None:
    chance = random.Random(SEED)
    new_id = itertools.count()
    system_prompts = [[next(new_id) for _ in range(blocks)] for blocks in SYSTEM_PROMPT_BLOCKS]
    upcoming: list[tuple[float, int, Session]] = []
    begin = 0.0
    for number in range(SESSIONS):
        begin += chance.expovariate(1 / MEAN_SECONDS_BETWEEN_SESSIONS)
        upcoming.append((begin, number, Session(chance.choice(system_prompts), chance)))
    while upcoming:
        second, number, session = heapq.heappop(upcoming)
        print(json.dumps({"timestamp": round(second * 1000), **session.turn(new_id)}))
        if session.turns_left:
            later = second + 1 + chance.expovariate(1 / MEAN_SECONDS_BETWEEN_TURNS)
            heapq.heappush(upcoming, (later, number, session))


if __name__ == "__main__":
    main()
