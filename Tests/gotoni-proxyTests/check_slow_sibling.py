"""One proxy hears NATS slowly or not at all: the others route as fast as before, and it says afterwards what it has missed."""

from __future__ import annotations

import dataclasses
import itertools
import json
import pathlib
import random
import signal
import statistics
import threading
import time
from typing import Any

from nats import Nats, Pipe, nats
from programs import Engine, Program, Proxy, started, until
from wire import Raw, request

BLOCK = 16
CLIENTS = 6
PHASE_S = 1.5
ROUNDS = 4
# Such a share of their requests a second each must keep, and so many times as long one in a hundred may take.
LEAST_RATE = 0.75
MOST_P99 = 4.0
MOST_GROWTH = 64 << 20
# The group's stream keeps no more messages: two seconds of two proxies, each of which tells every 3 ms at most.
KEPT = 1_400


@dataclasses.dataclass(frozen=True)
class Phase:
    # Of the proxy that answered fewest: another may answer more instead.
    per_second: float
    p99_ms: float


class Load:
    """Clients that send prompts which nobody has seen, one after the other, each to one of the proxies."""

    def __init__(self, proxies: list[Proxy]) -> None:
        self.proxies = proxies
        self.chance = random.Random(1)
        self.numbers = itertools.count()
        self.sent = 0
        self.last: list[int] = []

    def prompt(self) -> list[int]:
        number = next(self.numbers)
        return [number] * BLOCK + [self.chance.randrange(150_000) for _ in range(3 * BLOCK + 1)]

    def phase(self, seconds: float = PHASE_S) -> Phase:
        times: dict[int, list[float]] = {proxy.port: [] for proxy in self.proxies}
        failures: list[Any] = []
        ends = time.monotonic() + seconds

        def client(port: int) -> None:
            connection = Raw(port)
            try:
                while time.monotonic() < ends:
                    self.last = self.prompt()
                    body = json.dumps({"model": "simulated", "max_tokens": 1, "prompt": self.last}).encode()
                    connection.send(request("POST", "/v1/completions", body))
                    if (answer := connection.answer()).status != 200:
                        failures.append(answer)
                    times[port].append(time.monotonic() - connection.sent)
            except Exception as error:
                failures.append(error)
            finally:
                connection.close()

        began = time.monotonic()
        threads = [
            threading.Thread(target=client, args=(self.proxies[index % len(self.proxies)].port,)) for index in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not failures, failures[:3]
        took, sent = time.monotonic() - began, sorted(itertools.chain(*times.values()))
        self.sent += len(sent)
        return Phase(min(map(len, times.values())) / took, sent[len(sent) * 99 // 100] * 1000)


def _bytes(program: Program | Nats) -> int:
    """Of memory that is resident."""
    pid = program.process.pid
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096


def _is_slower(before: list[Phase], then: list[Phase]) -> str | None:
    """In words; None: it is not."""
    rate = statistics.median(each.per_second for each in then) / statistics.median(each.per_second for each in before)
    p99 = statistics.median(each.p99_ms for each in then) / statistics.median(each.p99_ms for each in before)
    words = f"{rate:.2f} of the requests a second, p99 {p99:.2f} times as long: {before}, {then}"
    print(f"          {words.split(':')[0]}")
    return None if rate >= LEAST_RATE and p99 <= MOST_P99 else words


def a_slow_subscriber_slows_nobody_and_says_what_it_missed() -> None:
    engine = Engine()
    with nats() as server:
        stream = {"name": "gotoni-gotoni-prompts", "subjects": ["gotoni.gotoni.prompts"], "max_msgs": KEPT, "storage": "file"}
        stream |= {"retention": "limits", "discard": "old", "num_replicas": 1}
        server.publish("$JS.API.STREAM.CREATE.gotoni-gotoni-prompts", json.dumps(stream).encode())
        with Pipe(server.port) as pipe:
            urls = (server.url, server.url, f"nats://127.0.0.1:{pipe.port}")
            one, two, slow = (Proxy("--nats", url, servers=[f"a={engine.url}"]) for url in urls)
            with started(engine, one, two, slow):

                def sharing(proxy: Proxy) -> dict[str, Any]:
                    return proxy.status()["sharing"]

                def held(prompt: list[int]) -> int:
                    body = {"model": "simulated", "max_tokens": 1, "prompt": prompt}
                    rows = slow.post("/proxy/explain?endpoint=/v1/completions", body)["decisions"][0]["candidates"]
                    return rows[0]["matched_tokens"]

                def messages_told() -> int:
                    return sum(sharing(each)["messages_told"] for each in (one, two))

                for proxy in (one, two, slow):
                    until("it hears the others", lambda proxy=proxy: sharing(proxy)["siblings"] == 2)
                load = Load([one, two])
                load.phase()
                watched = (one, two, slow, server)
                memory = [_bytes(each) for each in watched]

                free, stalled = [], []
                for _ in range(ROUNDS):
                    free.append(load.phase())
                    pipe.stall()
                    stalled.append(load.phase())
                    pipe.flow()
                assert (words := _is_slower(free, stalled)) is None, words
                # Nothing is lost so soon.
                until("it has caught up", lambda: held(load.last) == 4 * BLOCK)
                assert sharing(slow)["gaps"] == 0, sharing(slow)

                # Longer than its stream goes back, and than it waits for NATS.
                pipe.stall()
                gone = []
                told = messages_told()
                # Half of the messages are of loads, which the stream does not keep.
                while sharing(slow)["connected"] or len(gone) < ROUNDS or messages_told() < told + 3 * KEPT:
                    gone.append(load.phase())
                    assert len(gone) < 10, sharing(slow)
                assert (words := _is_slower(free, gone)) is None, words
                assert slow.chat("it serves meanwhile").status == 200
                assert load.sent > 2_000, load.sent
                pipe.flow()
                until("it knows what is new", lambda: sharing(slow)["connected"] and held(load.last) == 4 * BLOCK)
                assert slow.metric("gotoni_sharing_gaps_total") + slow.metric("gotoni_sharing_dropped_total") > 0, sharing(slow)
                assert slow.metric("gotoni_sharing_behind") == 0 and sharing(slow)["reconnects"] > 0, sharing(slow)
                assert sharing(one)["gaps"] == sharing(two)["gaps"] == 0 == sharing(one)["prompts_lost"], sharing(one)
                grown = [_bytes(each) - before for each, before in zip(watched, memory)]
                assert max(grown) < MOST_GROWTH, grown

                # The control: what would be seen if requests did wait for somebody.
                held_up = []
                for _ in range(ROUNDS):
                    two.signal(signal.SIGSTOP)
                    wakes = threading.Timer(PHASE_S / 2, two.signal, (signal.SIGCONT,))
                    wakes.start()
                    held_up.append(load.phase())
                    wakes.join()
                assert _is_slower(free, held_up) is not None, (free, held_up)
