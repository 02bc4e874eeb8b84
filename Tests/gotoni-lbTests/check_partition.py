"""The way between two nodes is cut, and heals."""

from __future__ import annotations

import time
from collections.abc import Callable

from load import all_whole, converse
from nodes import KEY, Mesh, mesh
from programs import fresh_text, until
from relay import Relay


def _no_delay(_: int, __: int) -> float:
    return 0.0


def _forwards_flow(made: Mesh) -> None:
    """Each of the two is full, and what comes then goes to the other."""
    for node, other in (made.nodes, reversed(made.nodes)):
        node.until_quiet()
        before = node.counts()["requests_forwarded"]
        streams = [node.send(fresh_text(100), 100_000, stream=True, headers=_stays()) for _ in range(2)]
        try:
            assert all(stream.head().status == 200 for stream in streams)
            assert node.chat("for the other").status == 200
            assert node.counts()["requests_forwarded"] == before + 1, other.name
        finally:
            for stream in streams:
                stream.close()
        node.until_quiet()


def _stays() -> list[tuple[str, str]]:
    """Of a request that is for this node's engine."""
    return [("x-lb-hop", "1"), ("x-lb-key", KEY)]


def _cut_and_heal(cut: Callable[[Relay], None], what: str, is_refused: bool) -> None:
    # As often as nodes look by default.
    with mesh(2, "--max-concurrent", "2", "--probe-interval", "1s", delays=_no_delay) as made:
        _forwards_flow(made)
        for way in made.ways.values():
            cut(way)
        began = time.monotonic()
        for node in made.nodes:
            node.until_alone()
        alone = time.monotonic() - began
        assert alone < 5, alone
        # Each serves what comes to it, more than it has places for, and nothing goes to the other.
        forwarded = [node.counts()["requests_forwarded"] for node in made.nodes]
        before = made.served()
        for number, node in enumerate(made.nodes):
            all_whole(converse([node], clients=6, turns=2, entry=lambda _: 0, size=200), 12)
            assert made.served()[number] == before[number] + 12
        assert [node.counts()["requests_forwarded"] for node in made.nodes] == forwarded
        if is_refused:
            # Then it is longest until they are peers again.
            for node, name in zip(made.nodes, "ba"):
                node.until_peer(name, state="ejected")
        else:
            until("it has been cut for three seconds", lambda: time.monotonic() - began > 3)
        for node, name in zip(made.nodes, "ba"):
            peer = node.peer(name)
            assert peer["available"] is False and (is_refused or peer["age_ms"] > 2_000), peer
        healed = time.monotonic()
        for way in made.ways.values():
            way.open()
        made.until_whole(limit=5)
        took = time.monotonic() - healed
        for node, name in zip(made.nodes, "ba"):
            peer = node.peer(name)
            assert peer["healthy"] and peer["available"] and peer["max_load"] == 2 and peer["age_ms"] < 1_200, peer
        _forwards_flow(made)
        flows = time.monotonic() - healed
        print(f"          {what}: alone after {alone:.2f} s; healed, whole after {took:.2f} s, forwards by {flows:.2f}")
        assert took <= 1.0, f"whole again only {took:.2f} s after it healed"


def a_way_that_swallows_everything_is_noticed_and_heals_within_a_second() -> None:
    _cut_and_heal(Relay.cut, "swallowed", is_refused=False)


def a_way_that_is_refused_is_noticed_and_heals_within_a_second() -> None:
    _cut_and_heal(Relay.refuse, "refused", is_refused=True)


def what_was_under_way_when_the_way_was_cut_ends() -> None:
    """Refused: it is served here instead. Swallowed: it is answered when the way is open again."""
    for cut in (Relay.refuse, Relay.cut):
        with mesh(2, "--max-concurrent", "2", delays=_no_delay) as made:
            (a, _), engines = made
            streams = [a.send(fresh_text(100), 100_000, stream=True, headers=_stays()) for _ in range(2)]
            assert all(stream.head().status == 200 for stream in streams)
            engines[1].fault(slow=1000)
            with a.send("for the other") as forwarded:
                until("it is there", lambda: made.nodes[1].state()["current_load"] == 1)
                for way in made.ways.values():
                    cut(way)
                a.until_alone()
                engines[1].fault(reset=True)
                for stream in streams:
                    stream.close()
                if cut is Relay.refuse:
                    assert forwarded.answer().status == 200
                for way in made.ways.values():
                    way.open()
                if cut is Relay.cut:
                    assert forwarded.answer().status == 200
            made.until_whole()
            a.until_quiet()


def one_way_that_is_cut_bars_only_that_way() -> None:
    """The one whose questions get no answer sends nothing; the other one does as before."""
    with mesh(2, "--max-concurrent", "2", delays=_no_delay) as made:
        a, b = made.nodes
        made.ways[0, 1].cut()
        a.until_alone()
        peer = b.peer("a")
        assert peer["available"] and peer["age_ms"] < 2_000, peer
        streams = [b.send(fresh_text(100), 100_000, stream=True, headers=_stays()) for _ in range(2)]
        assert all(stream.head().status == 200 for stream in streams)
        assert b.chat("for the other").status == 200 and b.counts()["requests_forwarded"] == 1
        for stream in streams:
            stream.close()
        made.ways[0, 1].open()
        made.until_whole()
