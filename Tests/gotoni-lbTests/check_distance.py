"""Nodes that are far from each other, and what they send each other."""

from __future__ import annotations

import time

from load import all_whole, converse, mostly
from nodes import Mesh, Node, mesh
from programs import fresh_text, until

# Round trips between three regions, in milliseconds.
ROUND_TRIPS = {(0, 1): 37, (0, 2): 279, (1, 2): 456}
# A report and the news of nothing, in bytes.
EMPTY = 68 + 10


def _delay(a: int, b: int) -> float:
    return ROUND_TRIPS[min(a, b), max(a, b)] / 2_000


def nodes_of_three_regions_share_their_load() -> None:
    """Each knows how far the others are; most requests come to one region, and all are served."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4"), delays=_delay) as made:
        names = "abc"
        for (a, b), wanted in ROUND_TRIPS.items():
            for node, name in ((made.nodes[a], names[b]), (made.nodes[b], names[a])):
                until("its way was measured", lambda: node.peer(name)["latency_ms"] is not None)
                found = node.peer(name)["latency_ms"]
                assert wanted - 1 <= found <= wanted + 25, (node.name, name, found, wanted)
        outcomes = converse(made.nodes, clients=16, turns=5, entry=mostly(0, 3))
        all_whole(outcomes, 80)
        made.until_quiet()
        counts = [node.counts() for node in made.nodes]
        assert sum(made.served()) == 80 == sum(each["requests_local"] for each in counts), counts
        assert made.total("requests_forwarded") == made.total("requests_from_peers") > 0, counts
        # Nobody has fallen silent for the length of its way.
        made.until_whole()
        served = made.served()
        found = {(a, b): made.nodes[a].peer(names[b])["latency_ms"] for a, b in ROUND_TRIPS}
        print(f"          served {served}, forwarded {made.total('requests_forwarded')}, round trips {found}")


def a_prompt_is_worth_a_way_that_is_shorter_than_computing_it() -> None:
    """At 0.094 ms a token 1,500 tokens cost 141 ms: a peer at 37 ms that has them is worth it, one at 279 is not."""
    with mesh(3, delays=_delay) as made:
        near, far = made.nodes[1], made.nodes[2]
        for holder, forwards in ((near, 1), (far, 0)):
            text = fresh_text(6_000)
            assert holder.chat(text).status == 200
            made.nodes[0].until_holds(holder.name, 1_400)
            before = made.nodes[0].counts()["requests_forwarded"]
            assert made.nodes[0].chat(text).status == 200
            assert made.nodes[0].counts()["requests_forwarded"] == before + forwards, holder.name


def _bytes(node: Node) -> tuple[int, int]:
    found = node.get("/lb/metrics")["mesh"]
    return found["bytes_told"], found["bytes_heard"]


def what_nodes_tell_each_other_is_little() -> None:
    """Idle a heartbeat a second; under load ten reports a second, and of each prompt what is new in it."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4")) as made:
        node = made.nodes[0]
        # The last that was new has been told.
        until("it is quiet", lambda: all(peer["age_ms"] > 500 for peer in node.get("/lb/peers")["peers"]))
        (told, _), began = _bytes(node), time.monotonic()
        # Three heartbeats to each of two peers.
        until("three heartbeats", lambda: _bytes(node)[0] - told >= 3 * 2 * EMPTY)
        seconds = time.monotonic() - began
        told_now, _ = _bytes(node)
        idle = (told_now - told) / 2 / seconds
        assert seconds > 2, f"three heartbeats took {seconds:.1f} s: there is something new all the time"
        assert idle < 200, idle
        before, began = [_bytes(each) for each in made.nodes], time.monotonic()
        outcomes = converse(made.nodes, clients=20, turns=8, entry=mostly(0, 3))
        all_whole(outcomes, 160)
        seconds = time.monotonic() - began
        made.until_quiet()
        grown = [tuple(now - was for now, was in zip(_bytes(each), past)) for each, past in zip(made.nodes, before)]
        rate = max(told for told, _ in grown) / 2 / seconds
        rate_each = [f"{told / 2 / seconds:.0f}" for told, _ in grown]
        # Prompts of 500 to 1,100 tokens: whole they would be 200 to 400 bytes each, to each peer.
        assert rate < 100_000, rate
        print(
            f"          told to each peer: idle {idle:.0f} bytes/s; under {160 / seconds:.0f} requests/s "
            f"{' / '.join(rate_each)} bytes/s"
        )
        _account_is_even(made)


def _account_is_even(made: Mesh) -> None:
    """What is told is heard, but for what is on its way, and for questions that were given up."""

    def holds() -> bool:
        told, heard = (sum(each) for each in zip(*(_bytes(node) for node in made.nodes)))
        return 0 <= told - heard <= told * 0.05 + 6 * EMPTY

    until("what is told is heard", holds)
