"""Nothing that is sent makes the service large, slow for others, or dead."""

from __future__ import annotations

import json
import socket
import time

import model_files
from service_process import Service, connected, shared, threads_of, until

WORD = 1 << 20


def deep_json_is_refused() -> None:
    with Service(model_files.deepseek()) as service, service.client() as client:
        deep = 100_000
        for opening, closing in (("[", "]"), ('{"a":', "}")):
            nested = (opening * deep + "1" + closing * deep).encode()
            client.ask("POST", "/tokenize", nested).problem(400, "nested too deeply")
            client.ask("POST", "/tokenize", b'{"prompt": ' + nested + b"}").problem(400, "nested too deeply")
            client.ask("POST", "/tokenize", (opening * deep).encode()).problem(400, "")
        arguments = {"function": {"name": "f", "arguments": "[" * deep + "]" * deep}}
        talk = {"messages": [{"role": "assistant", "tool_calls": [arguments]}]}
        client.ask("POST", "/tokenize", talk).problem(400, "nested too deeply")
        # Deep enough to be read, and to be written by the template again.
        for depth in (400, 600, 800, 900, 950):
            nested_tool = '{"type": "function", "function": ' + '{"a":' * depth + "1" + "}" * depth + "}"
            body = '{"messages": [{"role": "user", "content": "x"}], "tools": [' + nested_tool + "]}"
            assert client.ask("POST", "/tokenize", body.encode()).status in (200, 400)
        batch = {"requests": [{"prompt": "Bye"}, talk]}
        assert "error" in client.ask("POST", "/batch", batch).json()["results"][1]
        assert client.ask("GET", "/health").status == 200


def large_bodies_are_refused() -> None:
    with Service(model_files.wordpiece(), options=("--max-body", "1000")) as service:
        whole = json.dumps({"text": "x" * (1000 - len('{"text": ""}'))}).encode()
        assert len(whole) == 1000
        assert service.ask("POST", "/count", whole).status == 200
        service.ask("POST", "/count", whole + b" ").problem(413, "1001 bytes")
        # Without a length in front it is noticed on the way.
        with connected(service.path) as raw:
            raw.sendall(
                b"POST /count HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024
            )
            assert raw.recv(1 << 16).startswith(b"HTTP/1.1 413")
        assert service.get("/health")["under_way"] == 0


def long_texts_are_refused() -> None:
    with Service(model_files.chatml(), options=("--max-text", "1000")) as service:
        assert service.ask("POST", "/count", {"text": "x" * 1000}).status == 200
        service.ask("POST", "/count", {"text": "x" * 1001}).problem(413, "1001 bytes")
        service.ask("POST", "/count", {"text": "ü" * 501}).problem(413, "1002 bytes")
        service.ask("POST", "/tokenize", {"messages": [{"role": "user", "content": "x" * 990}]}).problem(
            413, "more than"
        )


def too_many_values_are_refused() -> None:
    body = b'{"prompt": "x", "a": [' + b"[]," * 2_500_000 + b"1]}"
    shared(model_files.deepseek()).ask("POST", "/tokenize", body).problem(413, "values")


def health_answers_while_large_requests_run() -> None:
    """Ten texts that are one long word each, in bodies that are large, and small requests beside them."""
    with Service(model_files.deepseek(), options=("--threads", "2")) as service:
        ended = []

        def large(number: int) -> None:
            try:
                answer = service.ask("POST", "/tokenize", {"prompt": "a" * (WORD // 2 + number), "user": "x" * WORD})
                assert answer.status == 200 and answer.json()["count"] > 50_000
            finally:
                ended.append(number)

        def small() -> float:
            began = time.monotonic()
            with service.client() as client:
                assert client.ask("POST", "/count", {"text": "Bye"}).status == 200
            return time.monotonic() - began

        waits, smalls = [], []
        with threads_of(10, large):
            until("they run", lambda: service.get("/health")["under_way"] >= 5)
            while len(ended) < 10:
                began = time.monotonic()
                service.get("/health")
                waits.append(time.monotonic() - began)
                smalls.append(small())
        waits.sort()
        smalls.sort()
        print(
            f"  health: {len(waits)} answers, half in {waits[len(waits) // 2] * 1e3:.1f} ms,",
            f"all in {waits[-1] * 1e3:.0f} ms",
        )
        print(f"  small requests: half in {smalls[len(smalls) // 2] * 1e3:.1f} ms, all in {smalls[-1] * 1e3:.0f} ms")
        assert len(waits) >= 10
        # One answer in twenty may meet what else the machine does.
        assert waits[int(len(waits) * 0.95) - 1] < 0.1 and waits[-1] < 1, waits[-20:]
        assert smalls[len(smalls) // 2] < 0.1, smalls


def overload_is_refused_at_once() -> None:
    options = ("--threads", "1", "--max-waiting", "2")
    with Service(model_files.deepseek(), options=options) as service:
        slow = json.dumps({"prompt": "a" * (WORD - 1000), "return_tokens": False}).encode()
        answers: list[int] = []

        def ask(_: int) -> None:
            answer = service.ask("POST", "/tokenize", slow)
            answers.append(answer.status)
            if answer.status == 503:
                answer.problem(503, "wait already")
                assert answer.fields["retry-after"] == "1"

        with threads_of(8, ask):
            until("three are under way", lambda: service.get("/health")["under_way"] == 3)
            began = time.monotonic()
            until("the others are refused", lambda: answers.count(503) == 5)
            assert time.monotonic() - began < 2
        assert sorted(answers) == [200] * 3 + [503] * 5, answers
        health = service.get("/health")
        assert (health["requests"], health["refused"], health["under_way"]) == (3, 5, 0), health


def clients_that_go_away_are_not_worked_for() -> None:
    with Service(model_files.deepseek(), options=("--threads", "1")) as service:
        body = json.dumps({"prompt": "a" * (WORD - 1000), "return_tokens": False}).encode()
        request = b"POST /tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        raws = [connected(service.path) for _ in range(10)]
        for raw in raws:
            raw.sendall(request)
        until("all are under way", lambda: service.get("/health")["under_way"] == 10)
        for raw in raws:
            raw.shutdown(socket.SHUT_RDWR)
            raw.close()
        until("none is", lambda: service.get("/health")["under_way"] == 0)
        assert service.post("/count", {"text": "Bye"}) == {"count": 2}
        assert service.get("/health")["requests"] <= 3


def broken_http_is_answered_or_closed() -> None:
    with Service(model_files.wordpiece()) as service:
        for data in (
            b"\x00" * 100,
            b"GET\r\n\r\n",
            b"POST /count HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            b"POST /count HTTP/1.1\r\nContent-Length: 5\r\n\r\n{",
        ):
            with connected(service.path) as raw:
                raw.sendall(data)
                raw.shutdown(socket.SHUT_WR)
                answer = raw.recv(1 << 16)
                assert not answer or answer.startswith(b"HTTP/1."), answer
        assert service.get("/health")["under_way"] == 0
