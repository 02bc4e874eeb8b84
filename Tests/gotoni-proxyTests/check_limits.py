"""Clients that are slow, wrong or too much."""

from __future__ import annotations

import json
import re
import time

from programs import Engine, Proxy, chat, shared, started, until
from wire import Broken, Raw, Recorder, ask, request

CHAT = "/v1/chat/completions"


def bad_bodies_are_refused_in_openais_shape() -> None:
    proxy, engines = shared()
    before = sum(engine.served() for engine in engines)
    for body in (
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b'"text"',
        b'{"messages":[{"role":"user","content":"x"}]} tail',
        b'{"messages":[{"role":"user","content":"\xff\xfe"}]}',
        b'{"messages":[{"role":"user","content":"\xc3"}]}',
        b'{"messages":[{"role":"user","content":"x",}]}',
        b'{"messages":' + b"[" * 100_000,
        b'{"max_tokens": 01, "messages":[]}',
    ):
        proxy.ask("POST", CHAT, body).problem(400, "invalid_body")
    assert proxy.ask("POST", CHAT, b'{"messages":[{"role":"user","content":"fine"}],"max_tokens":1}').status == 200
    assert sum(engine.served() for engine in engines) == before + 1


def a_wrong_prompt_is_the_engines_to_refuse() -> None:
    proxy, engines = shared()
    for body in ({}, {"prompt": "of another endpoint"}, {"messages": [], "n": 99}):
        answer, own = proxy.ask("POST", CHAT, body), ask(engines[0].port, "POST", CHAT, body)
        assert (answer.status, answer.body) == (own.status, own.body) and answer.status == 400, (answer, own)


def an_oversized_body_is_refused() -> None:
    with Recorder() as server:
        proxy = Proxy("--max-body", "10000", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            body = json.dumps(chat("x" * 9_000)).encode()
            assert proxy.ask("POST", CHAT, body).status == 200
            big = json.dumps(chat("x" * 2_000_000)).encode()
            with Raw(proxy.port, request("POST", CHAT, big)) as raw:
                raw.answer().problem(413, "body_too_large")
                assert raw.is_closed()
            # Announced, not sent: refused before anything is waited for.
            with Raw(proxy.port, request("POST", CHAT, b"", {"content-length": "20000"})) as raw:
                raw.answer().problem(413, "body_too_large")
            with Raw(proxy.port, request("POST", CHAT, b"", {"content-length": "99999999999999999999"})) as raw:
                assert raw.answer().status in (400, 413)
            # In chunks, so that nothing is announced.
            with Raw(proxy.port, request("POST", CHAT, b"", {"transfer-encoding": "chunked"})) as raw:
                for _ in range(11):
                    raw.send(b"3e8\r\n" + b"x" * 1000 + b"\r\n")
                raw.answer().problem(413, "body_too_large")
            assert len(server.seen) == 1 and proxy.is_running()


def _post(fields: bytes, body: bytes) -> bytes:
    return b"POST /x HTTP/1.1\r\nhost: a\r\n" + fields + b"\r\n" + body


# What two servers in a row might read as two different requests (RFC 9112, section 11.2), and what is no request.
AMBIGUOUS = (
    _post(b"content-length: 5\r\ntransfer-encoding: chunked\r\n", b"0\r\n\r\n"),
    _post(b"transfer-encoding: chunked\r\ncontent-length: 5\r\n", b"0\r\n\r\n"),
    _post(b"content-length: 5\r\ncontent-length: 6\r\n", b"hello!"),
    _post(b"content-length: 5, 6\r\n", b"hello!"),
    _post(b"content-length: +5\r\n", b"hello"),
    _post(b"content-length: -5\r\n", b"hello"),
    _post(b"content-length: 0x5\r\n", b"hello"),
    _post(b"content-length: 5 5\r\n", b"hello"),
    _post(b"transfer-encoding: gzip, chunked\r\n", b"0\r\n\r\n"),
    _post(b"transfer-encoding: chunked, identity\r\n", b"0\r\n\r\n"),
    _post(b"transfer-encoding: xchunked\r\n", b"0\r\n\r\n"),
    _post(b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n", b"0\r\n\r\n"),
    _post(b"transfer-encoding: chunked\r\n", b"xyz\r\n"),
    _post(b"transfer-encoding: chunked\r\n", b"-1\r\n"),
    _post(b"transfer-encoding: chunked\r\n", b"0x1\r\na\r\n0\r\n\r\n"),
    _post(b"transfer-encoding: chunked\r\n", b"fffffffffffffffff\r\n"),
    _post(b"transfer-encoding: chunked\r\n", b"1\r\nab\r\n0\r\n\r\n"),
    b"GET /x HTTP/1.1\r\nhost: a\r\nbad name: 1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nhost : a\r\n\r\n",
    b"GET /x HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
    b"GET /x HTTP/1.1\r\n\r\n",
    b"GET /x HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET /x y HTTP/1.1\r\nhost: a\r\n\r\n",
    b"nonsense\r\n\r\n",
)


def requests_that_can_be_read_in_two_ways_are_refused() -> None:
    with Recorder() as server:
        proxy = Proxy(servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            wrong = []
            for text in AMBIGUOUS:
                with Raw(proxy.port, text) as raw:
                    raw.socket.settimeout(3)
                    try:
                        said = raw.to_the_end()
                    except TimeoutError:
                        said = b"the connection is left open after " + raw.buffer
                # One answer, and then the end: whatever follows is not read as a request.
                answers = re.findall(rb"HTTP/1\.1 (\d{3}) ", said)
                if answers not in ([b"400"], [b"413"], [b"501"]) or not said.startswith(b"HTTP/"):
                    wrong.append((text, said[:60]))
            assert not wrong, "\n".join(f"{text!r} got {said!r}" for text, said in wrong)
            assert server.seen == [], server.seen
            assert proxy.ask("GET", "/x").status == 200


def other_protocols_are_refused() -> None:
    with Recorder() as server:
        proxy = Proxy(servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            for text, statuses in (
                (b"GET /x HTTP/2.0\r\nhost: a\r\n\r\n", (505,)),
                (b"GET /x HTTP/1.2\r\nhost: a\r\n\r\n", (505,)),
                (b"GET /x HTTP/1.9\r\nhost: a\r\n\r\n", (505,)),
                (b"GET /x\r\n\r\n", (400, 505)),
                (b"GET /x HTTP/0.9\r\nhost: a\r\n\r\n", (400, 505)),
                (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", (400, 505)),
                (b"CONNECT example.org:443 HTTP/1.1\r\nhost: a\r\n\r\n", (501,)),
                (b"TRACE / HTTP/1.1\r\nhost: a\r\n\r\n", (501,)),
            ):
                with Raw(proxy.port, text) as raw:
                    said = raw.to_the_end()
                    assert said.startswith(b"HTTP/1.1 ") and int(said[9:12]) in statuses, (text, said[:60])
            # The first bytes of TLS: nobody there could read an answer.
            with Raw(proxy.port, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03") as raw:
                said = raw.to_the_end()
                assert not said or said.startswith(b"HTTP/1.1 400 "), said
            assert server.seen == [], server.seen


def an_offered_upgrade_is_not_taken() -> None:
    """And the connection goes on, or says that it does not."""
    proxy, _ = shared()
    body = json.dumps(chat("up", 2)).encode()
    offer = {"connection": "upgrade, http2-settings", "upgrade": "h2c", "http2-settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    with Raw(proxy.port, request("POST", CHAT, body, offer)) as raw:
        answer = raw.answer()
        assert answer.status == 200, answer
        if answer.keeps:
            raw.send(request("POST", CHAT, body))
            assert raw.answer().status == 200
        else:
            assert raw.is_closed()


def bytes_behind_a_request_end_the_connection() -> None:
    """What is no request behind one that is being answered: the answer comes, then the end, and nobody waits."""
    proxy, _ = shared()
    body = json.dumps(chat("followed", 20, stream=True)).encode()
    for rest in (b"\x00\x01\x02", b"nonsense\r\n\r\n", b"GET /x HTTP/1.1\r\nbad name: 1\r\n\r\n"):
        for is_late in (False, True):
            with Raw(proxy.port, request("POST", CHAT, body) + (b"" if is_late else rest)) as raw:
                answer = raw.head()
                if is_late:
                    raw.send(rest)
                pieces = b"".join(raw.chunks())
                assert answer.status == 200 and pieces.endswith(b"data: [DONE]\n\n"), (rest, answer)
                raw.socket.settimeout(3)
                # Nothing but a refusal may come.
                said = raw.to_the_end()
                assert not said or said.startswith(b"HTTP/1.1 400 "), (rest, said)


def expectations() -> None:
    with Recorder() as server:
        proxy = Proxy("--max-body", "10000", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            body = json.dumps(chat("x")).encode()
            fields = {"expect": "100-continue", "content-length": str(len(body))}
            with Raw(proxy.port, request("POST", CHAT, b"", fields)) as raw:
                assert raw.answer().status == 100
                raw.send(body)
                assert raw.answer().status == 200
            assert server.seen[-1].body == body and server.seen[-1].field("expect") is None, server.seen[-1].raw
            # Too large: said instead of "continue".
            with Raw(proxy.port, request("POST", CHAT, b"", {**fields, "content-length": "20000"})) as raw:
                raw.answer().problem(413, "body_too_large")
            with Raw(proxy.port, request("POST", CHAT, b"", {**fields, "expect": "a-miracle"})) as raw:
                raw.answer().problem(417, "unknown_expectation")
            assert len(server.seen) == 1


def a_header_that_is_too_large_is_refused() -> None:
    proxy, _ = shared()
    many = [(f"x-{number}", "y" * 1_000) for number in range(5_000)]
    with Raw(proxy.port, request("GET", "/v1/models", b"", many)) as raw:
        said = raw.to_the_end()
        assert said.startswith(b"HTTP/1.1 431 "), said[:100]
    with Raw(proxy.port, request("GET", "/v1/models", b"", [("x", "y" * 300_000)])) as raw:
        assert raw.to_the_end().startswith(b"HTTP/1.1 431 ")
    with Raw(proxy.port, b"GET /" + b"x" * 300_000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n") as raw:
        assert raw.to_the_end().split(b" ")[1] in (b"414", b"431", b"400")


def slow_clients_are_not_waited_for() -> None:
    engine = Engine()
    with started(engine):
        proxy = Proxy(
            "--request-timeout", "300ms", "--keep-alive-timeout", "500ms", servers=[f"a={engine.url}"]
        )
        with started(proxy):
            # A header that does not end, kept alive by a byte now and then.
            with Raw(proxy.port, b"POST /v1/chat/completions HTTP/1.1\r\nhost: a\r\n") as raw:
                began = time.monotonic()
                raw.socket.settimeout(0.05)
                ended = False
                while not ended and time.monotonic() < began + 5:
                    try:
                        raw.send(b"x")
                        ended = not raw.more()
                    except TimeoutError:
                        continue
                assert ended and time.monotonic() - began < 2, time.monotonic() - began
                assert not raw.buffer or raw.buffer.startswith(b"HTTP/1.1 408 "), raw.buffer
            # Nothing at all.
            with Raw(proxy.port) as raw:
                began = time.monotonic()
                raw.to_the_end()
                assert time.monotonic() - began < 2
            # A body that stops.
            body = json.dumps(chat("never")).encode()
            with Raw(proxy.port, request("POST", CHAT, body)[:-10]) as raw:
                began = time.monotonic()
                raw.answer().problem(408, "request_timeout")
                assert raw.is_closed() and time.monotonic() - began < 3
            # A connection without a next request.
            with Raw(proxy.port, request("POST", CHAT, body)) as raw:
                assert raw.answer().status == 200
                began = time.monotonic()
                assert raw.is_closed() and 0.3 < time.monotonic() - began < 2
            # A large body that comes steadily has the time it needs.
            with Raw(proxy.port) as raw:
                big = request("POST", CHAT, json.dumps(chat("x" * 100_000)).encode())
                for at in range(0, len(big), len(big) // 12 + 1):
                    raw.send(big[at : at + len(big) // 12 + 1])
                    time.sleep(0.05)
                assert raw.answer().status == 200
            proxy.until_quiet()


def a_client_that_reads_nothing_fills_no_memory() -> None:
    """Back-pressure: the server is read as fast as the client reads."""
    size = 96 << 20
    piece = b"10000\r\n" + b"x" * 65536 + b"\r\n"

    def flood(_: object) -> bytes:
        return b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + piece * (size // len(piece)) + b"0\r\n\r\n"

    with Recorder(flood) as server:
        proxy = Proxy(servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            before = _resident_mb(proxy.pid)
            with Raw(proxy.port, request("POST", "/flood", b"x")) as raw:
                raw.head()
                end = time.monotonic() + 1
                while time.monotonic() < end:
                    assert _resident_mb(proxy.pid) < before + 32, _resident_mb(proxy.pid)
                    time.sleep(0.05)
                # It goes on where it was once the client reads.
                count = len(raw.buffer)
                while data := raw.socket.recv(1 << 20):
                    count += len(data)
                    if data.endswith(b"\r\n0\r\n\r\n"):
                        break
                assert count == len(piece) * (size // len(piece)) + 5, count


def _resident_mb(pid: int) -> float:
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmRSS"))


def more_connections_than_allowed_are_closed() -> None:
    engine = Engine()
    with started(engine):
        proxy = Proxy("--max-connections", "8", "--threads", "1", servers=[f"a={engine.url}"])
        with started(proxy):
            held = [Raw(proxy.port) for _ in range(8)]
            for raw in held[:4]:
                raw.send(request("POST", CHAT, json.dumps(chat("one of few")).encode()))
                assert raw.answer().status == 200
            with Raw(proxy.port) as ninth:
                assert ninth.is_closed()
            for raw in held:
                raw.close()

            def is_served() -> bool:
                try:
                    return proxy.chat("again").status == 200
                except Broken:
                    return False

            until("there is room again", is_served)
