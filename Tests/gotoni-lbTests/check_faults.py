"""Nodes that die, drain, restart or are not what they seem."""

from __future__ import annotations

import json
import random
import re
import signal
import threading
from collections.abc import Callable

from load import all_whole, converse
from nodes import KEY, FakePeer, Node, mesh, report
from programs import Engine, fresh_text, started, until
from wire import Broken, events


def a_killed_node_loses_nothing_that_had_not_begun() -> None:
    """Under load, at any of three nodes. What was forwarded to it is sent on by who forwarded it; what came to it
    directly its client sends to another node. What had begun to stream through it ends there, and says so."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4")) as made:
        victim = made.nodes[1]
        dead_at: list[int] = []

        def kill(done: Callable[[], int]) -> None:
            until("half of it is done", lambda: done() >= 60)
            assert victim.counts()["requests_from_peers"] > 0, "nothing was forwarded to it"
            dead_at.append(done())
            victim.kill()

        # Two of three requests come to the first, so that it forwards.
        def entry(chance: random.Random) -> int:
            return chance.choice((0, 0, 0, 1, 2))

        outcomes = converse(made.nodes, clients=20, turns=6, entry=entry, meanwhile=kill)
        cut = [outcome for outcome in outcomes if outcome.was_cut]
        lost = [outcome for outcome in outcomes if not outcome.is_whole and not outcome.was_cut]
        assert len(outcomes) == 120 and not lost, lost
        # At most what its engine had places for, and what it had forwarded itself.
        assert len(cut) <= 12, cut
        assert len(outcomes) - dead_at[0] >= 20, f"nearly all was done when it died: {dead_at}"
        moved = [outcome for outcome in outcomes if len(outcome.sent) > 1]
        assert moved and all(outcome.sent[0] == 1 for outcome in moved), moved[:3]
        for node in (made.nodes[0], made.nodes[2]):
            node.until_quiet()
            assert node.peer("b")["available"] is False
            until("the other is there", lambda: node.state()["healthy_peers"] == 1)
            assert node.counts()["requests_rejected"] == 0
        print(f"          {len(cut)} had begun, {len(moved)} were sent elsewhere by their clients")


def a_forward_that_its_peer_has_not_begun_to_answer_is_sent_elsewhere() -> None:
    """One by one, without a load: the peer takes the request and dies."""
    dies = threading.Event()

    def hold(_: object) -> None:
        dies.wait(20)

    engine = Engine()
    with started(engine), FakePeer(answers=hold) as peer:
        node = Node("--strategy", "round-robin", engine=engine.url, peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            raws = [node.send(f"{number}") for number in range(6)]
            until("some are there", lambda: len(peer.forwards) == 3)
            peer.close()
            dies.set()
            assert [raw.answer().status for raw in raws] == [200] * 6
            assert engine.served() == 6
            node.until_quiet()


def a_forward_that_is_cut_in_the_middle_is_cut_for_the_client_too() -> None:
    """Nobody takes a part for the whole, and nothing is served twice."""
    with mesh(2, engine=("--speed", "1", "--model", "h100")) as made:
        (a, b), engines = made
        text = fresh_text(6_000)
        assert b.chat(text, 1).status == 200
        a.until_holds("b", 1_400)
        with a.send(text, 100_000, stream=True) as stream:
            assert stream.head().status == 200
            chunks = stream.chunks()
            assert next(chunks)
            assert a.counts()["requests_forwarded"] == 1
            b.kill()
            try:
                rest = b"".join(chunks)
                raise AssertionError(f"it is complete: {rest[-200:]!r}")
            except Broken:
                pass
        assert engines[0].served() == 0
        a.until_quiet()


def a_draining_node_loses_nothing() -> None:
    """Under load. What had come to it is answered in full, at its engine or at a peer's."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4")) as made:
        leaver = made.nodes[1]

        def drain(done: Callable[[], int]) -> None:
            until("a third is done", lambda: done() >= 40)
            leaver.signal(signal.SIGTERM)

        outcomes = converse(made.nodes, clients=20, turns=6, entry=lambda chance: chance.randrange(3), meanwhile=drain)
        all_whole(outcomes, 120)
        assert leaver.wait() == 0, leaver.words()
        last = leaver.words().splitlines()[-1]
        assert re.search(r"stopped requests=0 tickets=0 waiting=0", last) and "cut off" not in leaver.words(), last
        for node in (made.nodes[0], made.nodes[2]):
            node.until_quiet()
            assert node.counts()["requests_rejected"] == 0
        assert sum(made.served()) == 120, made.served()


def peers_send_nothing_to_a_draining_node() -> None:
    """From the report on that says so, though they have more than they can serve."""
    with mesh(2, "--max-concurrent", "2", engine=("--speed", "4")) as made:
        (a, b), engines = made
        text = fresh_text(200)
        with b.send(text, 1_200, stream=True) as stream:
            assert stream.head().status == 200
            b.signal(signal.SIGTERM)
            a.until_peer("b", available=False)
            before, forwarded = engines[1].served(), a.counts()["requests_forwarded"]
            all_whole(converse([a], clients=10, turns=3, entry=lambda _: 0, size=200), 30)
            assert b.is_running(), "it has gone already: nothing was tried"
            assert a.counts()["requests_forwarded"] == forwarded and engines[1].served() == before
            assert engines[0].served() == 30 and a.counts()["requests_queued"] > 0
            assert events(b"".join(stream.chunks()))[-1] == "[DONE]"
        assert b.wait() == 0, b.words()


def what_waits_at_a_draining_node_may_leave_it() -> None:
    """Its peers serve it, and the node ends sooner."""
    with mesh(2, "--max-concurrent", "1", engine=("--speed", "1", "--model", "h100")) as made:
        (a, b), engines = made
        with a.send("theirs", 100_000, stream=True) as theirs, b.send("ours", 100, stream=True) as ours:
            assert theirs.head().status == ours.head().status == 200
            b.until_peer("a", available=False)
            with b.send("waits") as waits:
                until("it waits", lambda: b.state()["queue_size"] == 1)
                b.signal(signal.SIGTERM)
                until("it drains", lambda: a.peer("b")["available"] is False)
                theirs.close()
                assert waits.answer().status == 200
            assert events(b"".join(ours.chunks()))[-1] == "[DONE]"
        assert b.wait() == 0, b.words()
        assert sum(made.served()) == 3 or engines[0].served() >= 1, made.served()


def what_a_restarted_peer_held_is_forgotten() -> None:
    """And so is what one held whose cache was cleared, or that was removed and added again."""
    with mesh(2) as made:
        (a, b), engines = made

        def fill(node: Node) -> None:
            assert node.chat(fresh_text(6_000)).status == 200
            a.until_holds("b", 1_400)

        fill(b)
        # Its own cache goes, and with it what a knows of it.
        b.post("/lb/cache/clear")
        a.until_peer("b", held_tokens=0)
        fill(b)
        # At once the same one: what it still holds it tells again.
        assert a.ask("DELETE", "/lb/peers?id=b").status == 200
        a.add("b", b.url)
        a.until_holds("b", 1_400)
        b.kill()
        a.until_peer("b", available=False)
        again = Node(engine=engines[1].url, name="b", port=b.port)
        with started(again):
            again.add("a", a.url)
            peer = a.until_peer("b", available=True)
            assert peer["held_tokens"] == 0, peer
            fill(again)
            assert again.get("/lb/peers")["peers"][0]["id"] == "a"


def what_a_dead_engine_held_is_forgotten_by_peers() -> None:
    """Its node is the same, and what it had told of is gone with the engine."""
    with mesh(2) as made:
        (a, b), engines = made
        assert b.chat(fresh_text(6_000)).status == 200
        a.until_holds("b", 1_400)
        engines[1].kill()
        until("its end is noticed", lambda: b.ask("GET", "/lb/health").status == 503)
        a.until_peer("b", limit=5, held_tokens=0)


def what_an_engine_held_that_restarted_is_forgotten_by_peers() -> None:
    """Also if nobody has noticed that it was away: it tells when it was started."""
    with mesh(2, "--metrics-path", "/metrics") as made:
        (a, b), engines = made
        assert b.chat(fresh_text(6_000)).status == 200
        a.until_holds("b", 1_400)
        engines[1].kill()
        again = Engine("--name", "b", "--kv-tokens", "1000000", port=engines[1].port)
        with started(again):
            a.until_peer("b", limit=5, held_tokens=0)
            a.until_peer("b", available=True)
            assert b.chat(fresh_text(6_000)).status == 200
            a.until_holds("b", 1_400)


def a_peer_with_blocks_of_another_size_counts_by_its_load_alone() -> None:
    """Its prompts mean nothing here; its room does."""
    engines = [Engine("--kv-tokens", "1000000"), Engine("--kv-tokens", "1000000")]
    with started(*engines):
        a = Node("--max-concurrent", "1", engine=engines[0].url, name="a")
        b = Node("--block-tokens", "32", engine=engines[1].url, name="b")
        with started(a, b):
            a.add("b", b.url)
            a.until_peer("b", available=True)
            text = fresh_text(6_000)
            assert b.chat(text).status == 200
            until("it has told of it", lambda: b.get("/lb/metrics")["mesh"]["bytes_told"] > 94 * 6)
            a.until_peer("b", total_reqs=0)
            assert a.peer("b")["held_tokens"] == 0 and a.chat(text).status == 200
            assert a.counts()["requests_forwarded"] == 0
            with a.send(fresh_text(100), 100_000, stream=True) as stream:
                assert stream.head().status == 200 and a.chat("more").status == 200
                assert a.counts()["requests_forwarded"] == 1
            assert a.words().count("blocks of another size") <= 1


def a_peer_of_another_version_is_refused_with_a_word() -> None:
    """Once, however often it says it; both serve on. When it speaks ours it is heard."""
    for told in (
        report(version=2),
        report(version=0),
        b"",
        report()[:-1],
        report()[:40],
        report()[:68],
        b"<html>not a node</html>" * 10,
        report() + b"more",
    ):
        with FakePeer(told) as peer:
            engine = Engine()
            with started(engine):
                node = Node("--strategy", "round-robin", engine=engine.url, peers=[f"b={peer.url}"])
                with started(node):
                    until("it has told", lambda: peer.asked >= 3)
                    for number in range(4):
                        assert node.chat(f"{number}").status == 200
                    is_ours = told.startswith(report()[:68])
                    if not is_ours:
                        assert node.peer("b")["available"] is False and engine.served() == 4 and not peer.forwards, told
                    words = node.words()
                    assert words.count("peer tells no news") <= 1, words
                    if told[:1] == b"\x02":
                        assert words.count("peer tells no news") == 1 and "version" in words, words
                    peer.told = report(sequence=9)
                    node.until_peer("b", available=True)
                    assert KEY not in node.words()


def news_that_say_too_much_do_no_harm() -> None:
    """Numbers at their ends, and counts of what is not there."""
    most = 2**64 - 1
    head = report(incarnation=most, sequence=most, limit=2**32 - 1, queued=0, running=0)[:68]
    hostile = [
        head + b"\xff" * 9,
        head + b"\xff" * 8 + b"\x01\x00",
        head + b"\x00" * 8 + b"\x02\x00",
        head + b"\x00" * 8 + b"\x01\xff\xff\xff\xff\x7f",
        head + b"\x00" * 8 + b"\x01\x01" + b"\x00\x00\xff\xff\xff\x0f",
        head + b"\x00" * 8 + b"\x01\x01" + b"\x01\x00\x01" + b"x" * 6,
        head + b"\x00" * 8 + b"\x01\x40" + b"\x00\x00\x01" * 20,
        b"\x01\xff" + head[2:],
    ]
    engine = Engine()
    with started(engine), FakePeer(hostile[0]) as peer:
        node = Node(engine=engine.url, peers=[f"b={peer.url}"])
        with started(node):
            for told in hostile:
                peer.told = told
                asked = peer.asked
                until("it has told", lambda: peer.asked > asked + 1)
                assert node.chat("still here", headers={"x-lb-hop": "1", "x-lb-key": KEY}).status == 200, told
            peer.told = report(incarnation=5)
            node.until_peer("b", available=True, max_load=100)
            json.dumps(node.get("/lb/metrics"))


def a_node_that_is_its_own_peer_serves_alone_and_says_so() -> None:
    engine = Engine()
    with started(engine), FakePeer() as peer:
        node = Node("--strategy", "round-robin", engine=engine.url)
        with started(node):
            node.add("me", node.url)
            until("it notices", lambda: "this node itself" in node.words())
            for number in range(10):
                assert node.chat(f"{number}").status == 200
            counts = node.counts()
            assert counts["requests_forwarded"] == 0 and counts["requests_local"] == 10, counts
            assert node.peer("me")["available"] is False
            # Others are peers as before, and the word is said once, not ten times a second.
            node.add("b", peer.url)
            node.until_peer("b", available=True)
            until("some time has passed", lambda: peer.asked >= 12)
            assert node.words().count("this node itself") == 1, node.words()[-600:]
