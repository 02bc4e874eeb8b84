"""The picker decides as the proxy does."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from typing import Any

from programs import Engine, Gateway, Proxy, chat, started
from wire import ask

from world import Envoy, Picker

SEED = 7
# A loopback's unevenness decides nothing: between servers that cost the same the seed does.
SAME = ("--seed", "1", "--metrics-interval", "0", "--threads", "1", "--knob", "rtt_weight=0")


@contextlib.contextmanager
def _engines() -> Iterator[list[Engine]]:
    made = [Engine("--name", name, "--kv-tokens", "1000000", "--seed", "1") for name in "abc"]
    with started(*made):
        yield made


def _sequence() -> list[dict[str, Any]]:
    """Conversations that grow, in turns, whose beginnings some share."""
    chance = random.Random(SEED)
    systems = ["".join(chance.choices("abcdefgh ", k=chance.randrange(2_000, 12_000))) for _ in range(4)]
    talks = [systems[number % 4] + f" talk {number}: " for number in range(12)]
    bodies = []
    for _ in range(120):
        number = chance.randrange(len(talks))
        talks[number] += "".join(chance.choices("ijklmnop ", k=chance.randrange(40, 4_000)))
        bodies.append(chat(talks[number], 2, stream=bool(chance.randrange(2))))
    return bodies


def _decisions(front: int, gateway: Gateway, bodies: list[dict[str, Any]]) -> list[tuple[str, int, int]]:
    found = []
    for number, body in enumerate(bodies):
        answer = ask(front, "POST", "/v1/chat/completions", body, {"x-request-id": f"r{number}"})
        assert answer.status == 200, answer
        record = gateway.record(f"r{number}")
        found.append((record["selected_server_id"], record["tokens"], record["matched_tokens"]))
        gateway.until_quiet()
    return found


def decisions_are_those_of_the_proxy() -> None:
    """120 requests, one after the other: the same servers, the same tokens, the same matches."""
    print(f"    seed {SEED}")
    bodies = _sequence()
    for policy in ("gorgo", "prefix-tree", "power-of-two"):
        options = (*SAME, "--policy", policy)
        with _engines() as engines:
            proxy = Proxy(*options, servers=[f"{name}={engine.url}" for name, engine in zip("abc", engines)])
            with started(proxy):
                ours = _decisions(proxy.port, proxy, bodies)
        with _engines() as engines:
            picker = Picker(*options, servers=engines)
            envoy = Envoy([engine.port for engine in engines], picker.place)
            with started(picker, envoy):
                theirs = _decisions(envoy.port, picker, bodies)
        differ = [number for number, (one, other) in enumerate(zip(ours, theirs)) if one != other]
        assert not differ, f"{policy}: {[(number, ours[number], theirs[number]) for number in differ[:5]]}"
        used = {server for server, _, _ in ours}
        assert len(used) > 1 and any(matched for _, _, matched in ours), f"{policy}: nothing to compare: {used}"
