"""Where a request is served."""

from __future__ import annotations

import collections
import random
import threading

from load import all_whole, converse, mostly
from nodes import FakePeer, Mesh, Node, mesh
from programs import Engine, fresh_text, started, until
from wire import LIMIT_S, Recorder, Seen

# 1,500 tokens: to compute them anew costs 140 ms, the way to another node on loopback not one.
LONG = 6_000


def _served_at(made: Mesh, entry: int, text: str) -> int:
    """Sends it to one node, and gives the number of the engine that served it."""
    before = made.served()
    assert made.nodes[entry].chat(text).status == 200
    made.until_quiet()
    grown = [now - was for now, was in zip(made.served(), before)]
    assert sum(grown) == 1 and set(grown) <= {0, 1}, grown
    return grown.index(1)


def _heard(made: Mesh, holder: int, tokens: int) -> None:
    """All others know that this one holds as much."""
    for node in made.nodes:
        if node is not made.nodes[holder]:
            node.until_holds(made.nodes[holder].name, tokens)


def a_prompt_seen_before_is_served_where_it_was_first() -> None:
    """Whichever node it comes to."""
    with mesh(3) as made:
        chance = random.Random(5)
        held = [0, 0, 0]
        for _ in range(6):
            text = fresh_text(LONG)
            first = _served_at(made, chance.randrange(3), text)
            held[first] += LONG // 4 // 16 * 16
            for entry in (0, 1, 2, 0, 2, 1):
                # Each time: who still believes that the last one runs there computes it anew.
                _heard(made, first, held[first])
                where = _served_at(made, entry, text)
                assert where == first, f"first at {first}, again from {entry} at {where}"
        assert made.total("requests_forwarded") >= 6 * 4, [node.counts() for node in made.nodes]
        # What is in the cache is read from there.
        assert made.total("requests_forwarded") == made.total("requests_from_peers")


def a_conversation_follows_its_beginning() -> None:
    """Its turns come to any node; what they begin with lies at one, and there they go."""
    with mesh(3) as made:
        chance = random.Random(6)
        text = fresh_text(LONG)
        first = _served_at(made, 1, text)
        for turn in range(1, 9):
            _heard(made, first, len(text) // 4 - 32)
            text += f" turn {turn}: " + "and then? " * 40
            assert _served_at(made, chance.randrange(3), text) == first, turn


def a_prompt_nobody_has_seen_is_served_where_it_comes() -> None:
    """No peer is nearer than one's own engine."""
    with mesh(3) as made:
        for number in range(9):
            assert _served_at(made, number % 3, fresh_text(LONG)) == number % 3
        assert made.total("requests_forwarded") == 0


def below_the_running_threshold_a_request_stays() -> None:
    """Even if a peer has its beginning. At zero the cost decides."""
    with mesh(2, "--running-threshold", "2") as made:
        text = fresh_text(LONG)
        assert _served_at(made, 1, text) == 1
        _heard(made, 1, LONG // 4 - 16)
        again = text + " and again"
        made.nodes[0].post("/lb/config", {"running_threshold": 0})
        assert _served_at(made, 0, again) == 1
        made.nodes[0].post("/lb/config", {"running_threshold": 2})
        assert _served_at(made, 0, again) == 0
        # With as many at the engine as it says the cost decides again.
        made.nodes[0].post("/lb/cache/clear")
        other = fresh_text(LONG)
        assert _served_at(made, 1, other) == 1
        _heard(made, 1, LONG // 4 - 16)
        streams = [made.nodes[0].send(fresh_text(100), 100_000, stream=True) for _ in range(2)]
        try:
            assert all(stream.head().status == 200 for stream in streams)
            assert made.nodes[0].counts()["requests_forwarded"] == 1
            before = made.engines[1].served()
            assert made.nodes[0].chat(other + " and again").status == 200
            assert made.nodes[0].counts()["requests_forwarded"] == 2 and made.engines[1].served() == before + 1
        finally:
            for stream in streams:
                stream.close()
        made.until_quiet()


def the_load_of_one_node_is_shared() -> None:
    """Conversations, most of them at one node of three with four places each: it serves, forwards and queues, and what
    waits leaves for peers. Every request reaches one engine, once."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4")) as made:
        outcomes = converse(made.nodes, clients=20, turns=6, entry=mostly(0, 3))
        all_whole(outcomes, 120)
        made.until_quiet()
        counts = [node.counts() for node in made.nodes]
        served = made.served()
        assert sum(served) == 120 == sum(each["requests_local"] for each in counts), (served, counts)
        assert [each["requests_local"] for each in counts] == served, (served, counts)
        forwarded = made.total("requests_forwarded")
        assert forwarded == made.total("requests_from_peers"), counts
        assert sum(each["total_requests"] for each in counts) == 120 + forwarded, counts
        busy = counts[0]
        assert busy["requests_local"] >= 20 and busy["requests_forwarded"] >= 20, busy
        assert busy["requests_queued"] >= 10 and busy["requests_queued_then_forwarded"] >= 5, busy
        assert busy["requests_queued_then_forwarded"] <= busy["requests_forwarded"], busy
        assert all(each["requests_rejected"] == 0 for each in counts) and min(served) >= 15, (served, counts)
        for node, each in zip(made.nodes, counts):
            assert node.metric("gotoni_node_forwards_total") == each["requests_forwarded"]
            assert node.metric("gotoni_node_received_forwards_total") == each["requests_from_peers"]
        waited = busy["requests_queued_then_forwarded"]
        print(f"          served {served}, forwarded {forwarded}, of those from the queue {waited}")


def every_strategy_serves_a_mesh() -> None:
    with mesh(2, "--max-concurrent", "2") as made:
        names = made.nodes[0].get("/lb/policy")["available"]
        total = 0
        for name in names:
            for node in made.nodes:
                node.post("/lb/policy", {"policy": name})
            all_whole(converse(made.nodes, clients=6, turns=2, entry=mostly(0, 2), size=200), 12)
            total += 12
            made.until_quiet()
            assert sum(made.served()) == total, (name, made.served())


def while_its_engine_is_down_a_node_lives_on_its_peers() -> None:
    """And tells them that it has no room itself."""
    with mesh(2) as made:
        (a, b), engines = made
        engines[0].kill()
        until("the engine's end is noticed", lambda: a.ask("GET", "/lb/health").status == 503)
        b.until_peer("a", available=False)
        for number in range(10):
            assert a.chat(f"{number}").status == 200 and b.chat(f"{number}").status == 200
        assert engines[1].served() == 20 and a.counts()["requests_forwarded"] == 10
        assert b.counts()["requests_forwarded"] == 0 and a.state()["aggregate"]["downtime_intervals"] == 1
        again = Engine("--name", "a", port=engines[0].port)
        with started(again):
            until("it is back", lambda: a.ask("GET", "/lb/health").status == 200)
            b.until_peer("a", available=True)
            until("it serves here", lambda: a.chat(fresh_text(LONG)).status == 200 and again.served() > 0)


def requests_at_an_engine_that_dies_are_served_by_peers() -> None:
    """Those that had no answer yet."""
    dies = threading.Event()

    def hold(_: Seen) -> None:
        dies.wait(LIMIT_S)

    with Recorder(hold) as engine, FakePeer() as peer:
        # So that they all go there, and none to the peer that is idle.
        node = Node("--running-threshold", "10", engine=f"http://127.0.0.1:{engine.port}", peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            raws = [node.send(f"{number}") for number in range(8)]
            until("they are at the engine", lambda: len(engine.seen) == 8)
            assert not peer.forwards
            dies.set()
            assert collections.Counter(raw.answer().status for raw in raws) == {200: 8}
            assert len(peer.forwards) == 8 and node.counts()["requests_forwarded"] == 8
            node.until_quiet()
