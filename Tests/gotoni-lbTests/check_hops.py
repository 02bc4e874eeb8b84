"""A request is forwarded once at most, and only a node can say that it was."""

from __future__ import annotations

import collections
import json
import threading

from nodes import CHAT, FIELDS, KEY, FakePeer, Node, mesh, nobody, report
from programs import Engine, chat, started, until
from wire import LIMIT_S, OK, Answer, Raw, Recorder, Seen, request

# What somebody outside the mesh may write.
OUTSIDE: tuple[list[tuple[str, str]], ...] = (
    [("x-lb-hop", "1")],
    [("x-lb-hop", "0")],
    [("x-lb-hop", "-1")],
    [("x-lb-hop", "999")],
    [("x-lb-hop", "99999999999999999999999")],
    [("x-lb-hop", "one, two; three")],
    [("x-lb-hop", "")],
    [("X-LB-Hop", "1"), ("X-Lb-HOP", "2"), ("x-lb-hop", "x")],
    [("x-lb-hop", "1"), ("x-lb-key", "wrong")],
    [("x-lb-hop", "2"), ("x-lb-key", KEY.upper())],
    [("x-lb-hop", "2"), ("x-lb-key", KEY[:-1])],
    [("x-lb-hop", "2"), ("x-lb-key", KEY + "x")],
    [("x-lb-hop", "2"), ("x-lb-key", "")],
    [("x-lb-hop", "2"), ("x-lb-key", "wrong"), ("x-lb-key", "wrong as well")],
    [("x-lb-key", "wrong"), ("x-lb-flow", "-5"), ("x-lb-flow", "99999999999999999999")],
    [("x-lb-flow", "7")],
    [("authorization", f"Bearer {KEY}"), ("x-lb-hop", "2")],
    [("connection", "x-lb-key, x-lb-hop"), ("x-lb-hop", "2"), ("x-lb-key", "wrong")],
)
FORWARD = [("x-lb-hop", "1"), ("x-lb-key", KEY)]


class _Gated(Recorder):
    """An engine that answers when it is told to."""

    def __init__(self) -> None:
        self.gate = threading.Event()

        def reply(_: Seen) -> bytes:
            self.gate.wait(LIMIT_S)
            return OK

        super().__init__(reply)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> _Gated:
        return self


def _ask(node: Node, headers: list[tuple[str, str]], text: str = "x") -> Answer:
    with Raw(node.port, request("POST", CHAT, json.dumps(chat(text)).encode(), [*headers])) as raw:
        return raw.answer()


def _full(engine: _Gated, node: Node) -> Raw:
    """Takes the one place of a node."""
    raw = node.send("the first", headers=[*FORWARD])
    until("the place is taken", lambda: len(engine.seen) == 1)
    return raw


def fields_from_outside_say_nothing_and_reach_no_engine() -> None:
    with Recorder() as engine:
        node = Node(engine=f"http://127.0.0.1:{engine.port}")
        with started(node):
            for headers in OUTSIDE:
                answer = _ask(node, headers)
                assert answer.status == 200, (headers, answer)
                assert not any(name in FIELDS for name, _ in answer.fields), answer
                assert b"x-lb-" not in engine.seen[-1].raw.lower(), engine.seen[-1].raw
            counts = node.counts()
            assert counts["requests_local"] == len(OUTSIDE) and counts["requests_from_peers"] == 0, counts


def fields_from_outside_keep_nobody_from_a_peer() -> None:
    """And the peer gets this node's alone, whatever the client wrote."""
    with _Gated() as engine, FakePeer() as peer:
        node = Node("--max-concurrent", "1", engine=engine.url, peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            with _full(engine, node) as first:
                for count, headers in enumerate(OUTSIDE, 1):
                    assert _ask(node, headers).status == 200, headers
                    assert len(peer.forwards) == count and len(engine.seen) == 1, (headers, peer.forwards)
                    seen = peer.forwards[-1]
                    assert [seen.field(name) for name in FIELDS] == ["1", KEY, None], seen.raw
                engine.gate.set()
                assert first.answer().status == 200


def with_the_key_more_than_one_hop_is_refused() -> None:
    with Recorder() as engine, FakePeer() as peer:
        node = Node(engine=f"http://127.0.0.1:{engine.port}", peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            for hops in ("2", "3", "-1", "999", "99999999999999999999999", "", "x", "1.0", "1 1", "0x1"):
                headers = [("x-lb-key", KEY), ("x-lb-hop", hops)]
                _ask(node, headers).problem(400, "hops")
            # Whoever has the key says how far.
            _ask(node, [("x-lb-key", KEY)]).problem(400, "hops")
            assert not engine.seen and not peer.forwards
            # The connection goes on where nothing is left to be read on it.
            with Raw(node.port) as raw:
                for headers, status in (([("x-lb-key", KEY), ("x-lb-hop", "2")], 400), (FORWARD, 200)):
                    raw.send(request("GET", "/other", b"", [*headers]))
                    assert raw.answer("GET").status == status


def a_forward_is_served_here_whatever_case_its_fields_have() -> None:
    with Recorder() as engine, FakePeer(report(limit=1000)) as peer:
        node = Node("--strategy", "round-robin", engine=f"http://127.0.0.1:{engine.port}", peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            forwards = [FORWARD, [("X-LB-HOP", "1"), ("X-Lb-Key", KEY), ("X-LB-Flow", "77")]] * 10
            for headers in forwards:
                assert _ask(node, headers).status == 200
                assert b"x-lb-" not in engine.seen[-1].raw.lower(), engine.seen[-1].raw
            assert len(engine.seen) == len(forwards) and not peer.forwards
            counts = node.counts()
            assert counts["requests_from_peers"] == counts["requests_local"] == len(forwards), counts


def a_forward_waits_here_though_others_have_room() -> None:
    with _Gated() as engine, FakePeer() as peer:
        node = Node("--max-concurrent", "1", engine=engine.url, peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            with _full(engine, node) as first, node.send("the second", headers=[*FORWARD]) as second:
                until("it waits", lambda: node.state()["queue_size"] == 1)
                asked = peer.asked
                until("the peer tells of its room", lambda: peer.asked > asked + 3)
                assert node.state()["queue_size"] == 1 and len(engine.seen) == 1 and not peer.forwards
                engine.gate.set()
                assert [raw.answer().status for raw in (first, second)] == [200, 200]
            assert len(engine.seen) == 2 and not peer.forwards
            counts = node.counts()
            assert counts["requests_from_peers"] == 2 and counts["requests_forwarded"] == 0, counts
            node.until_quiet()


def a_forward_that_waits_keeps_nobody_from_a_peer() -> None:
    """What may leave goes past it."""
    with _Gated() as engine, FakePeer() as peer:
        node = Node("--max-concurrent", "1", engine=engine.url, peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            with _full(engine, node) as first, node.send("the second", headers=[*FORWARD]) as second:
                until("it waits", lambda: node.state()["queue_size"] == 1)
                for number in range(3):
                    assert node.chat(f"{number}").status == 200
                assert len(peer.forwards) == 3, peer.forwards
                engine.gate.set()
                assert [raw.answer().status for raw in (first, second)] == [200, 200]


def a_forward_to_a_node_whose_engine_is_down_is_not_passed_on() -> None:
    with nobody() as url, FakePeer() as peer:
        node = Node(engine=url, peers=[f"b={peer.url}"], ready=False)
        with started(node):
            node.until_peer("b", available=True)
            assert node.chat("for the peer").status == 200 and len(peer.forwards) == 1
            # It may yet come up: the request waits for it, and no longer than its client does.
            with node.send("for here", headers=[*FORWARD]):
                until("it is here", lambda: node.counts()["requests_from_peers"] == 1)
                for number in range(3):
                    assert node.chat(f"{number}").status == 200
            until("it has gone", lambda: node.state()["queue_size"] == 0)
            assert len(peer.forwards) == 4, peer.forwards
            node.until_quiet()


def two_nodes_that_flatter_each_other_forward_a_request_once() -> None:
    """Each is told, all along, that the other one is idle: whatever comes is forwarded as soon as anything is here, and
    stays where it has been forwarded to. Engines count how often they see a request."""
    seen: collections.Counter[str] = collections.Counter()
    lock = threading.Lock()

    def serve(request: Seen) -> bytes:
        with lock:
            seen[request.field("x-request-id") or "?"] += 1
        assert b"x-lb-" not in request.raw.lower(), request.raw
        pause.wait(0.01)
        return OK

    pause = threading.Event()
    with Recorder(serve) as first, Recorder(serve) as second:
        a = Node("--max-concurrent", "4", engine=f"http://127.0.0.1:{first.port}", name="a")
        b = Node("--max-concurrent", "4", engine=f"http://127.0.0.1:{second.port}", name="b")
        with started(a, b), FakePeer(target=a.port) as face_of_a, FakePeer(target=b.port) as face_of_b:
            a.add("b", face_of_b.url)
            b.add("a", face_of_a.url)
            a.until_peer("b", available=True)
            b.until_peer("a", available=True)
            answers: list[int] = []

            def client(number: int) -> None:
                for turn in range(10):
                    node = (a, b)[(number + turn) % 2]
                    answer = node.chat(f"{number} {turn}" * 50, headers={"x-request-id": f"{number}-{turn}"})
                    answers.append(answer.status)

            threads = [threading.Thread(target=client, args=(number,)) for number in range(16)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert collections.Counter(answers) == {200: 160}, collections.Counter(answers)
            assert len(seen) == 160 and set(seen.values()) == {1}, {id: n for id, n in seen.items() if n > 1}
            for node, face in ((a, face_of_b), (b, face_of_a)):
                node.until_quiet()
                assert node.counts()["requests_forwarded"] == len(face.forwards) > 10, node.counts()
                ids = [each.field("x-request-id") for each in face.forwards]
                assert len(set(ids)) == len(ids), "one was forwarded twice"
                assert all(each.field("x-lb-hop") == "1" for each in face.forwards)
            assert not {each.field("x-request-id") for each in face_of_a.forwards} & {
                each.field("x-request-id") for each in face_of_b.forwards
            }, "one was forwarded there and back"
            assert a.counts()["requests_from_peers"] == b.counts()["requests_forwarded"]


def what_has_no_prompt_stays_where_an_engine_is() -> None:
    """Lists of models and the like: there is nothing to choose by. Also if that engine answers later than peers do."""
    with mesh(2, engine=("--rtt-ms", "20")) as (nodes, _):
        for _ in range(40):
            assert nodes[0].ask("GET", "/v1/models").status == 200
        assert nodes[0].counts()["requests_forwarded"] == 0, nodes[0].counts()


def what_has_no_prompt_is_forwarded_once_as_well() -> None:
    """Between nodes without engines, which pass it on if anybody does; also if they have no key in common."""
    for keys in ((KEY, KEY), (KEY, "another")):
        with nobody() as one, nobody() as two:
            a = Node(engine=one, name="a", environment={"GOTONI_MESH_KEY": keys[0]}, ready=False)
            b = Node(engine=two, name="b", environment={"GOTONI_MESH_KEY": keys[1]}, ready=False)
            with started(a, b):
                a.add("b", b.url)
                b.add("a", a.url)
                # Who answers and tells nothing is no peer yet.
                state = "up" if keys[0] == keys[1] else "unknown"
                a.until_peer("b", state=state)
                b.until_peer("a", state=state)
                before = [node.counts()["total_requests"] for node in (a, b)]
                # An answer, or none while an engine may yet come; but no more than one hop.
                with Raw(a.port, request("GET", "/v1/models", b"")):
                    until("it has come", lambda: a.counts()["total_requests"] > before[0])
                    # Time for hundreds of hops.
                    for _ in range(200):
                        assert a.state()["running"] and b.state()["running"]
                counts = [node.counts()["total_requests"] - was for node, was in zip((a, b), before)]
                assert counts[0] == 1 and counts[1] <= 1, f"with keys {keys} it came {counts} times"




def a_peer_that_refuses_is_not_asked_again_for_the_same_request() -> None:
    """What a peer cannot serve is served here."""
    def busy(_: Seen) -> bytes:
        return b"HTTP/1.1 503 Busy\r\ncontent-length: 2\r\n\r\n{}"

    engine = Engine()
    with started(engine), FakePeer(answers=busy) as peer:
        node = Node("--strategy", "round-robin", engine=engine.url, peers=[f"b={peer.url}"])
        with started(node):
            node.until_peer("b", available=True)
            for number in range(10):
                assert node.chat(f"{number}", headers={"x-request-id": f"{number}"}).status == 200
            assert engine.served() == 10
            ids = [seen.field("x-request-id") for seen in peer.forwards]
            assert ids and len(ids) == len(set(ids)), ids
