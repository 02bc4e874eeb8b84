"""Requests that wait at a node leave it as soon as somebody else has room."""

from __future__ import annotations

from load import all_whole, converse
from nodes import FakePeer, Node, mesh, report
from programs import Engine, started, until
from relay import Relay


def _busy(*options: str) -> tuple[Engine, Node]:
    engine = Engine("--speed", "1", "--model", "h100")
    return engine, Node("--max-concurrent", "1", *options, engine=engine.url, name="busy")


def who_waits_leaves_for_a_peer_that_comes_up() -> None:
    engine, node = _busy()
    other = Engine()
    with started(engine, node, other):
        free = Node(engine=other.url, name="free")
        with started(free), Relay(free.port) as way:
            way.refuse()
            node.add("free", way.url)
            with node.send("the first", 100_000, stream=True) as first:
                assert first.head().status == 200
                waiting = [node.send(f"{number}") for number in range(3)]
                until("they wait", lambda: node.state()["queue_size"] == 3)
                assert node.peer("free")["available"] is False
                way.open()
                for raw in waiting:
                    answer = raw.answer()
                    assert answer.status == 200 and int(answer.field("x-queue-wait-ms") or 0) > 0, answer
            counts = node.counts()
            assert counts["requests_queued_then_forwarded"] == 3 and other.served() == 3, counts
            node.until_quiet()


def who_waits_leaves_for_a_peer_that_has_room_again() -> None:
    engine, node = _busy()
    other = Engine("--speed", "1", "--model", "h100")
    with started(engine, node, other):
        free = Node("--max-concurrent", "1", engine=other.url, name="free")
        with started(free):
            node.add("free", free.url)
            first, theirs = (each.send("a long one", 100_000, stream=True) for each in (node, free))
            with first, theirs:
                assert first.head().status == theirs.head().status == 200
                node.until_peer("free", available=False, total_reqs=1)
                with node.send("waits") as waits:
                    until("it waits", lambda: node.state()["queue_size"] == 1)
                    assert node.counts()["requests_forwarded"] == 0
                    theirs.close()
                    assert waits.answer().status == 200
            assert node.counts()["requests_queued_then_forwarded"] == 1 and engine.served() <= 1
            node.until_quiet()
            free.until_quiet()


def who_waits_leaves_for_a_peer_that_tells_of_room() -> None:
    engine, node = _busy()
    with started(engine, node), FakePeer(report(limit=2, running=2)) as peer:
        node.add("b", peer.url)
        node.until_peer("b", available=False, total_reqs=2)
        with node.send("the first", 100_000, stream=True) as first:
            assert first.head().status == 200
            waiting = [node.send(f"{number}") for number in range(4)]
            until("they wait", lambda: node.state()["queue_size"] == 4)
            asked = peer.asked
            until("it has told again", lambda: peer.asked > asked + 2)
            assert not peer.forwards and node.state()["queue_size"] == 4
            peer.told = report(limit=4, running=2, sequence=2)
            assert [raw.answer().status for raw in waiting] == [200] * 4
            assert len(peer.forwards) == 4 and node.counts()["requests_queued_then_forwarded"] == 4
        node.until_quiet()


def a_peer_without_room_gets_nothing() -> None:
    """Full, draining or with a queue of its own: the request waits here."""
    for told in (
        report(limit=4, running=4),
        report(limit=4, queued=2, running=2),
        report(limit=4, running=1, waiting=3),
        report(limit=4, takes=False),
        report(limit=0),
    ):
        engine, node = _busy()
        with started(engine, node), FakePeer(told) as peer:
            node.add("b", peer.url)
            node.until_peer("b", healthy=True)
            until("it has told", lambda: node.peer("b")["age_ms"] is not None)
            with node.send("the first", 100_000, stream=True) as first:
                assert first.head().status == 200
                with node.send("waits") as waits:
                    until("it waits", lambda: node.state()["queue_size"] == 1)
                    asked = peer.asked
                    until("it has told again", lambda: peer.asked > asked + 1)
                    assert not peer.forwards, told
                    first.close()
                    assert waits.answer().status == 200
            assert not peer.forwards, told
            node.until_quiet()


def whoever_has_waited_is_told_once_for_how_long() -> None:
    """Here, at the peer that served it, or at both."""
    slow = b"HTTP/1.1 200 OK\r\nx-queue-wait-ms: 7\r\ncontent-length: 2\r\n\r\n{}"
    engine, node = _busy()
    with started(engine, node), FakePeer(report(limit=1, running=1), answers=lambda _: slow) as peer:
        node.add("b", peer.url)
        node.until_peer("b", total_reqs=1)
        with node.send("the first", 100_000, stream=True) as first:
            assert first.head().status == 200
            # What a client says of it is not what a node says.
            with node.send("waits", headers=[("x-queue-wait-ms", "5")]) as waits:
                until("it waits", lambda: node.state()["queue_size"] == 1)
                peer.told = report(limit=2, running=1, sequence=2)
                answer = waits.answer()
            assert answer.status == 200 and len(answer.all("x-queue-wait-ms")) == 1, answer
            found = [value for name, value in peer.forwards[0].fields if name.lower() == "x-queue-wait-ms"]
            assert len(found) == 1, peer.forwards[0].raw
        node.until_quiet()


def without_a_queue_what_finds_no_place_is_refused() -> None:
    engine, node = _busy()
    with started(engine, node), FakePeer(report(limit=1, running=1)) as peer:
        node.add("b", peer.url)
        node.until_peer("b", total_reqs=1)
        node.post("/lb/config", {"queue_enabled": False})
        with node.send("the first", 100_000, stream=True) as first:
            assert first.head().status == 200
            assert node.chat("no room").status in (429, 503) and node.counts()["requests_rejected"] == 1
            # Who has room elsewhere needs no queue.
            peer.told = report(limit=2, running=1, sequence=2)
            node.until_peer("b", available=True)
            assert node.chat("there").status == 200 and len(peer.forwards) == 1
        node.until_quiet()


def places_are_never_given_twice() -> None:
    """Two nodes send to a third at one time: what its engine has no place for waits there, and is not refused."""
    with mesh(3, "--max-concurrent", "2", engine=("--speed", "4", "--max-running", "2")) as made:
        outcomes = converse(made.nodes, clients=18, turns=4, entry=lambda chance: chance.randrange(2), size=400)
        all_whole(outcomes, 72)
        made.until_quiet()
        assert sum(made.served()) == 72 and made.served()[2] > 0, made.served()
        assert made.total("requests_rejected") == 0
