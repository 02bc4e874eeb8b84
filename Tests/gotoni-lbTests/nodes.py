"""Nodes under test, meshes of them, and a peer that is not what it seems."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import struct
from collections.abc import Callable, Iterator
from typing import Any

from programs import Engine, Gateway, started, until
from relay import Relay
from wire import LIMIT_S, OK, Raw, Recorder, Seen, request

LB = ""
# Empty: it is not under test.
PROXY = ""
KEY = "the-key-of-the-mesh"
CHAT = "/v1/chat/completions"
# What a node says to another one with a request.
FIELDS = ("x-lb-hop", "x-lb-key", "x-lb-flow")


class Node(Gateway):
    """A node that looks at its engine and its peers more often than the default, so that checks are short."""

    DEFAULTS = {"--probe-interval": "50ms", "--metrics-interval": "50ms", "--log-level": "info", "--threads": "2"}

    def __init__(
        self,
        *options: str,
        engine: str,
        name: str = "node",
        peers: list[str] | None = None,
        environment: dict[str, str] | None = None,
        port: int = 0,
        ready: bool = True,
    ) -> None:
        given = {"--node-id": name, **self.DEFAULTS}
        defaults = [word for option, value in given.items() if option not in options for word in (option, value)]
        named = [word for peer in peers or [] for word in ("--peer", peer)]
        command = [LB, "--listen", f"127.0.0.1:{port}", "--engine", engine, *named, *defaults, *options]
        super().__init__(command, {"GOTONI_MESH_KEY": KEY, **(environment or {})})
        self.name = name
        self.url = self.line.split()[-1]
        if ready:
            until("its engine is up", lambda: self.ask("GET", "/lb/health").status == 200)

    def state(self) -> dict[str, Any]:
        return self.get("/lb/status")

    def counts(self) -> dict[str, Any]:
        return self.state()["aggregate"]

    def peer(self, name: str) -> dict[str, Any]:
        return next(peer for peer in self.get("/lb/peers")["peers"] if peer["id"] == name)

    def add(self, name: str, url: str) -> None:
        assert self.post("/lb/peers", {"id": name, "url": url})["status"] == "added"

    def until_peer(self, name: str, limit: float = LIMIT_S, **facts: Any) -> dict[str, Any]:
        """Until all of `facts` are so."""
        return until(
            f"{self.name} sees {name} with {facts}",
            lambda: (peer := self.peer(name)) and all(peer[key] == value for key, value in facts.items()) and peer,
            limit,
        )

    def until_holds(self, name: str, tokens: int) -> None:
        """Until it knows that a peer holds as much, and that the requests that brought it there have ended."""

        def holds() -> bool:
            peer = self.peer(name)
            return peer["held_tokens"] >= tokens and peer["total_reqs"] == 0

        until(f"{self.name} hears of it", holds)

    def until_alone(self) -> None:
        """Until it has heard from nobody for so long that nobody gets anything."""
        until(f"{self.name} is alone", lambda: self.state()["healthy_peers"] == 0)

    def send(self, text: str, tokens: int = 4, headers: Any = None, **more: Any) -> Raw:
        """A request whose answer is waited for elsewhere."""
        message = {"model": "simulated", "max_tokens": tokens, "messages": [{"role": "user", "content": text}], **more}
        return Raw(self.port, request("POST", CHAT, json.dumps(message).encode(), headers))


@dataclasses.dataclass
class Mesh:
    """Nodes that know each other by their names, and the engine of each."""

    nodes: list[Node]
    engines: list[Engine]
    # From one to the other, if they are asked for.
    ways: dict[tuple[int, int], Relay]

    def __iter__(self) -> Iterator[Any]:
        return iter((self.nodes, self.engines))

    def link(self, asker: int, other: int) -> None:
        way = self.ways.get((asker, other))
        self.nodes[asker].add(self.nodes[other].name, way.url if way else self.nodes[other].url)

    def until_whole(self, limit: float = LIMIT_S) -> None:
        """Each sees that all others have room."""
        for node in self.nodes:
            others = len(self.nodes) - 1
            until(f"{node.name} hears all", lambda: node.state()["healthy_peers"] == others, limit)

    def until_quiet(self) -> None:
        for node in self.nodes:
            node.until_quiet()

    def total(self, name: str) -> int:
        """Of one of the counters, over all nodes."""
        return sum(node.counts()[name] for node in self.nodes)

    def served(self) -> list[int]:
        return [engine.served() for engine in self.engines]


@contextlib.contextmanager
def mesh(
    count: int,
    *options: str,
    engine: tuple[str, ...] = (),
    delays: Callable[[int, int], float] | None = None,
    environment: dict[str, str] | None = None,
) -> Iterator[Mesh]:
    """`count` nodes a, b, c…, each with an engine, all of them linked. `delays`: there are relays between them, and a
    byte takes so many seconds."""
    names = "abcdefgh"[:count]
    engines = [Engine("--name", name, "--kv-tokens", "1000000", *engine) for name in names]
    with started(*engines), contextlib.ExitStack() as stack:
        nodes = [
            Node(*options, engine=each.url, name=name, environment=environment, ready=False)
            for name, each in zip(names, engines)
        ]
        pairs = [(a, b) for a in range(count) for b in range(count) if a != b]
        ways = {(a, b): stack.enter_context(Relay(nodes[b].port, delays(a, b))) for a, b in pairs} if delays else {}
        made = Mesh(nodes, engines, ways)
        with started(*nodes):
            for pair in pairs:
                made.link(*pair)
            made.until_whole()
            yield made


def report(
    version: int = 1,
    takes: bool = True,
    block_tokens: int = 16,
    incarnation: int = 7,
    sequence: int = 1,
    limit: int = 100,
    queued: int = 0,
    running: int = 0,
    waiting: int = 0,
) -> bytes:
    """What a node tells of itself, and that it has no prompts to tell of."""
    flags = 1 if takes else 0
    load = (limit, queued, running, waiting, queued * 500, running * 500, waiting * 500, 0)
    told = struct.pack("<BBHQQ4I4Q", version, flags, block_tokens, incarnation, sequence, *load)
    return told + struct.pack("<QBB", 0, 1, 0)


class FakePeer(Recorder):
    """A peer that tells what it is told to tell, a few times a second, and keeps every request that is forwarded to it.

    `answers` gets such a request and gives the bytes of the answer. With a `target` it is one node's face before
    another: what it is sent it passes on as it came."""

    def __init__(
        self, told: bytes | None = None, answers: Callable[[Seen], bytes | None] = lambda _: OK, target: int = 0
    ) -> None:
        self.told = report() if told is None else told
        self.forwards: list[Seen] = []
        self.asked = 0

        def pass_on(seen: Seen) -> bytes:
            with Raw(target, request(seen.method, seen.target, seen.body, seen.fields)) as raw:
                answer = raw.answer(seen.method)
            return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (answer.status, len(answer.body), answer.body)

        def reply(seen: Seen) -> bytes | None:
            path = seen.target.split("?")[0]
            if path == "/lb/health":
                return OK
            if path == "/lb/peer":
                self.asked += 1
                # As a node that has something new every now and then.
                if self.asked > 1:
                    self.over.wait(0.1)
                return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(self.told), self.told)
            self.forwards.append(seen)
            return pass_on(seen) if target else answers(seen)

        super().__init__(reply)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> FakePeer:
        return self


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """A URL where nobody listens, and nobody will."""
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{taken.getsockname()[1]}"
