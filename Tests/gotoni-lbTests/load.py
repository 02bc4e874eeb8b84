"""Conversations of many clients at once, each of which goes to another node when its own has gone."""

from __future__ import annotations

import dataclasses
import json
import random
import threading
from collections.abc import Callable, Sequence

from nodes import CHAT, Node
from programs import chat, fresh_text
from wire import Broken, Raw, request


@dataclasses.dataclass
class Outcome:
    """What became of one request."""

    id: str
    # Nodes it was sent to, in order; more than one if connections died before a byte came.
    sent: list[int] = dataclasses.field(default_factory=list)
    status: int = 0
    # Bytes of an answer had come when it broke.
    was_cut: bool = False
    problem: str = ""

    @property
    def is_whole(self) -> bool:
        return self.status == 200 and not self.was_cut and not self.problem


def ask_somewhere(ports: Sequence[int], entry: int, id: str, text: str, tokens: int, stream: bool) -> Outcome:
    """As clients do that know several addresses: on to the next if the connection dies before a byte of an answer."""
    outcome = Outcome(id)
    body = json.dumps(chat(text, tokens, stream=stream)).encode()
    for turn in range(len(ports)):
        node = (entry + turn) % len(ports)
        outcome.sent.append(node)
        try:
            with Raw(ports[node], request("POST", CHAT, body, {"x-request-id": id})) as raw:
                try:
                    answer = raw.answer()
                    outcome.status = answer.status
                    outcome.problem = "" if answer.status == 200 else answer.text[:200]
                    if stream and answer.status == 200 and not answer.body.endswith(b"data: [DONE]\n\n"):
                        outcome.problem = f"no end: {answer.body[-100:]!r}"
                    return outcome
                except Broken as error:
                    outcome.problem = str(error)
                    # The head had come, or a part of it.
                    outcome.was_cut = raw.first > 0 or bool(error.body)
                    if outcome.was_cut:
                        return outcome
        except OSError as error:
            outcome.problem = repr(error)
    return outcome


def converse(
    nodes: Sequence[Node],
    clients: int,
    turns: int,
    entry: Callable[[random.Random], int],
    tokens: int = 16,
    size: int = 2000,
    meanwhile: Callable[[Callable[[], int]], None] | None = None,
) -> list[Outcome]:
    """Each turn repeats all before it. `entry` chooses the node of each request; every second client streams.
    `meanwhile` runs beside it and can ask how many are done."""
    ports = [node.port for node in nodes]
    outcomes: list[Outcome] = []

    def client(number: int, text: str) -> None:
        chance = random.Random(number)
        for turn in range(turns):
            text += f" {number} says {turn}: " + "and what do you think of it? " * 10
            id = f"{number}-{turn}"
            outcomes.append(ask_somewhere(ports, entry(chance), id, text, tokens, stream=number % 2 == 0))

    threads = [threading.Thread(target=client, args=(number, fresh_text(size))) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        if meanwhile:
            meanwhile(lambda: len(outcomes))
    finally:
        for thread in threads:
            thread.join()
    return outcomes


def all_whole(outcomes: Sequence[Outcome], count: int) -> None:
    bad = [outcome for outcome in outcomes if not outcome.is_whole]
    assert len(outcomes) == count and not bad, f"{len(bad)} of {len(outcomes)}, {count} wanted: {bad[:5]}"


def mostly(node: int, others: int, share: float = 0.8) -> Callable[[random.Random], int]:
    """Most requests come to one node."""
    return lambda chance: node if chance.random() < share else chance.randrange(others)
