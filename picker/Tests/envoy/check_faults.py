"""Engines and pickers that die, clients that leave."""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import signal
import socket
import time

from programs import chat, fresh_text, started, until
from wire import Broken, request

from sample import CLOSED, DUPLEX, DUPLEX_ANSWERS, IMPATIENT, NO_BODIES, checked
from world import Envoy, Picker, world


def a_dead_engine_is_left_alone() -> None:
    with world() as its:
        for number in range(12):
            assert its.envoy.chat(fresh_text(200)).status == 200, number
        its.engines[0].kill()
        until("it is out", lambda: its.picker.server("a")["state"] == "ejected")
        statuses = [its.envoy.chat(fresh_text(200)).status for _ in range(50)]
        assert statuses == [200] * 50, statuses


def a_dead_engine_is_noticed_by_its_answers() -> None:
    """Without a probe in time: Envoy says that nobody listened there."""
    with world("--probe-interval", "1h", "--metrics-interval", "0", "--policy", "round-robin") as its:
        its.engines[0].kill()
        statuses = []
        end = time.monotonic() + 20
        while its.picker.server("a")["state"] != "ejected":
            statuses.append(its.envoy.chat(fresh_text(200)).status)
            assert time.monotonic() < end, statuses
        # Two refused connections say it.
        assert statuses.count(503) <= 2 and set(statuses) <= {200, 503}, statuses
        its.picker.until_quiet()
        assert its.picker.status()["total_failed"] == statuses.count(503), its.picker.status()
        assert [its.envoy.chat(fresh_text(200)).status for _ in range(20)] == [200] * 20


def an_engine_that_refuses_is_spared() -> None:
    with world() as its:
        its.engines[0].fault(status=500, count=3)
        statuses = [its.envoy.chat(fresh_text(200)).status for _ in range(20)]
        assert statuses.count(500) <= 3 and set(statuses) <= {200, 500}, statuses
        its.picker.until_quiet()


def a_cut_answer_is_no_success() -> None:
    with world() as its:
        for engine in its.engines:
            engine.fault(cut_after_chunks=3)
        identity = "cut"
        # Envoy breaks it off, or answers 502 if the answer's head was still here.
        with contextlib.suppress(Broken):
            answer = its.envoy.chat("hello", 50, {"x-request-id": identity}, stream=True)
            assert answer.status == 502, answer
        record = its.picker.record(identity)
        assert not record["success"], record


def _asking(text: str) -> bytes:
    return request("POST", "/v1/chat/completions", json.dumps(chat(text, 400, stream=True)).encode())


def _leave(port: int, body: bytes, after: int) -> None:
    """A client that reads `after` bytes and goes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as client:
        client.sendall(body)
        read = 0
        while read < after:
            part = client.recv(65_536)
            assert part, "the answer is shorter"
            read += len(part)


def clients_that_leave_give_their_places_back() -> None:
    for changes in ((), (NO_BODIES,), (DUPLEX, DUPLEX_ANSWERS)):
        with world(changes=changes, engine=("--speed", "1")) as its:
            for number in range(12):
                # Before the answer, and in the middle of it.
                _leave(its.envoy.port, _asking(fresh_text(4_000)), (0, 600)[number % 2])
            its.picker.until_quiet()
            status = its.picker.status()
            # Envoy need not show a request whose client has gone.
            assert 6 <= status["total_handled"] <= 12, status
            if not changes:
                assert status["total_cancelled"] == status["total_handled"], status


def clients_that_leave_while_they_wait() -> None:
    with world("--max-concurrent", "1", engine=("--speed", "1")) as its:
        held = []
        for number in range(9):
            client = socket.create_connection(("127.0.0.1", its.envoy.port), timeout=20)
            held.append(client)
            client.sendall(_asking(fresh_text(4_000)))
        until("six wait", lambda: its.picker.status()["queue_size"] == 6)
        for client in held:
            client.close()
        its.picker.until_quiet()
        assert its.picker.status()["total_cancelled"] == 9, its.picker.status()


def without_a_picker_requests_are_served_all_the_same() -> None:
    with world() as its:
        assert its.envoy.chat("hello").status == 200
        its.picker.until_quiet()
        port = its.picker.grpc_port
        its.picker.kill()
        answers = [its.envoy.chat(fresh_text(200)) for _ in range(30)]
        assert [answer.status for answer in answers] == [200] * 30, answers
        assert all(engine.served() >= 10 for engine in its.engines), [engine.served() for engine in its.engines]
        # It comes back, and picks again.
        again = Picker(servers=its.engines, grpc_port=port)
        try:
            until("it picks again", lambda: its.envoy.chat(fresh_text(200)).status == 200 and again.records())
        finally:
            again.kill()


def without_a_picker_requests_are_refused_where_that_is_wanted() -> None:
    """And where Envoy has given a body away, whatever it is told."""
    for changes in ((CLOSED,), (DUPLEX, DUPLEX_ANSWERS)):
        with world(changes=changes) as its:
            assert its.envoy.chat("hello").status == 200
            its.picker.until_quiet()
            its.picker.kill()
            answers = [its.envoy.chat("hello").status for _ in range(5)]
            assert set(answers) <= {500, 503}, answers


def a_picker_that_hangs_is_waited_for_and_no_longer() -> None:
    """Then as without one; and when it goes on it has lost nothing, and picks."""
    for changes, status in (((IMPATIENT,), 200), ((IMPATIENT, CLOSED), 504)):
        with world(changes=changes) as its:
            assert its.envoy.chat("hello").status == 200
            its.picker.until_quiet()
            its.picker.signal(signal.SIGSTOP)
            begin = time.monotonic()
            with concurrent.futures.ThreadPoolExecutor(8) as pool:
                answers = list(pool.map(lambda _: its.envoy.chat("hello"), range(8)))
            waited = time.monotonic() - begin
            assert [answer.status for answer in answers] == [status] * 8, answers
            # Eight at one time: each waits once.
            assert 0.5 <= waited < 5, waited
            its.picker.signal(signal.SIGCONT)
            its.picker.until_quiet()
            before = len(its.picker.records())
            assert [its.envoy.chat("hello").status for _ in range(10)] == [200] * 10
            until("all are picked", lambda: len(its.picker.records()) == before + 10)
            # What was shown while it hung was given up by Envoy.
            assert its.picker.status()["total_handled"] == 11, its.picker.status()


def a_picker_that_hangs_is_noticed_by_its_health() -> None:
    """Within two checks; until then a request waits for message_timeout, which is long."""
    with world() as its:
        servers = [engine.port for engine in its.engines]
        envoy = Envoy(servers, its.picker.place, *checked(its.picker.grpc_port, its.picker.port))
        with started(envoy):
            until("the picker is seen", lambda: envoy.chat("hello").status == 200 and its.picker.records())
            its.picker.until_quiet()
            its.picker.signal(signal.SIGSTOP)
            gauge = "cluster.picker.membership_healthy"
            until("it is out", lambda: envoy.statistic(gauge) == 0)
            begin = time.monotonic()
            assert [envoy.chat("hello").status for _ in range(10)] == [200] * 10
            assert time.monotonic() - begin < 5
            its.picker.signal(signal.SIGCONT)
            until("it is back", lambda: envoy.statistic(gauge) == 1)
            # Envoy's worker hears of it a moment after its statistics.
            before = len(its.picker.records())
            until("it picks", lambda: envoy.chat("hello").status == 200 and len(its.picker.records()) > before)


def a_picker_that_hangs_in_an_answer_holds_nobody_up() -> None:
    with world(changes=(IMPATIENT,), engine=("--speed", "1")) as its:
        with socket.create_connection(("127.0.0.1", its.envoy.port), timeout=20) as client:
            client.sendall(_asking(fresh_text(4_000)))
            answer = client.recv(65_536)
            its.picker.signal(signal.SIGSTOP)
            while not answer.endswith(b"0\r\n\r\n"):
                part = client.recv(65_536)
                assert part, "the answer is cut off"
                answer += part
        its.picker.signal(signal.SIGCONT)
        assert answer.startswith(b"HTTP/1.1 200") and b"[DONE]" in answer, answer
        its.picker.until_quiet()


def an_envoy_that_dies_leaves_nothing() -> None:
    with world(engine=("--speed", "1")) as its:
        clients = []
        for number in range(5):
            client = socket.create_connection(("127.0.0.1", its.envoy.port), timeout=20)
            clients.append(client)
            client.sendall(_asking(fresh_text(4_000)))
        until("all are under way", lambda: its.picker.status()["under_way"] == 5)
        its.envoy.kill()
        for client in clients:
            client.close()
        its.picker.until_quiet()
