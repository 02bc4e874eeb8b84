"""Bytes and fields on their way, seen by a server that hides nothing."""

from __future__ import annotations

import time

from programs import Proxy, started
from wire import OK, Answer, Raw, Recorder, Seen, ask, request

CHAT = "/v1/chat/completions"
MINIMAL = b'{"messages":[{"role":"user","content":"x"}]}'


def _through(
    body: bytes = MINIMAL,
    headers: list[tuple[str, str]] | None = None,
    reply: bytes | None = None,
    environment: dict[str, str] | None = None,
    path: str = CHAT,
    method: str = "POST",
    options: tuple[str, ...] = (),
) -> tuple[Answer, Seen]:
    """One request through a proxy of its own."""
    with Recorder() if reply is None else Recorder(lambda _: reply) as server:
        proxy = Proxy(*options, servers=[f"a=http://127.0.0.1:{server.port}"], environment=environment)
        with started(proxy):
            with Raw(proxy.port, request(method, path, body, headers)) as raw:
                answer = raw.answer(method)
            return answer, server.seen[-1]


def a_body_arrives_byte_for_byte() -> None:
    body = (
        b'{ "zzz" : [1, 2.50, 1e3, {"a":null}],\t"messages":[{"role":"user","content":"\\u00e9\\ud83d\\ude00 \xc3\xa9",'
        b'"cache_control":{"type":"ephemeral"}}],\n "model":"m" ,"chat_template_kwargs":{"enable_thinking":false},'
        b'"stream":false, "zzz2":"\\/" , "lora_path":null }  '
    )
    _, seen = _through(body)
    assert seen.body == body, seen.body
    assert seen.target == CHAT and seen.method == "POST"
    binary = bytes(range(256)) * 40
    _, seen = _through(binary, path="/some/upload?a=%20b&c", method="PUT")
    assert seen.body == binary and seen.target == "/some/upload?a=%20b&c" and seen.method == "PUT", seen.raw[:200]


def every_endpoint_arrives_byte_for_byte() -> None:
    bodies = {
        "/v1/completions": b'{"prompt":[1,2,3],"x":{"y":[]}}',
        "/v1/responses": b'{"input":"a","store" :false}',
        "/v1/embeddings": b'{"input":["a","b"],"user":"u"}',
        "/generate": b'{"input_ids":[1,2],"sampling_params":{"n":1},"rid":"z"}',
    }
    for path, body in bodies.items():
        _, seen = _through(body, path=path + "?beta=true")
        assert seen.body == body and seen.target == path + "?beta=true", seen.raw


def fields_of_the_connection_stay_behind() -> None:
    dropped = [
        ("Connection", "keep-alive, X-Private"),
        ("X-Private", "1"),
        ("Keep-Alive", "timeout=5"),
        ("Proxy-Authorization", "Basic eA=="),
        ("Proxy-Connection", "keep-alive"),
        ("TE", "trailers"),
        ("Upgrade", "h2c"),
    ]
    kept = [("X-Custom", "Käse"), ("Accept", "text/event-stream"), ("traceparent", "00-1-2-01"), ("X-Custom", "two")]
    _, seen = _through(headers=[*dropped, *kept])
    names = [name.lower() for name, _ in seen.fields]
    for name, _ in dropped:
        assert name.lower() not in names or name == "Connection", (name, seen.raw)
    assert "x-private" not in seen.raw.decode("latin-1").lower(), seen.raw
    order = [name for name, _ in seen.fields if name in ("X-Custom", "Accept", "traceparent")]
    assert order == ["X-Custom", "Accept", "traceparent", "X-Custom"], seen.raw
    assert "Käse".encode() in seen.raw


def host_and_length_are_the_servers() -> None:
    _, seen = _through(headers=[("Host", "public.example.org")])
    assert (seen.field("host") or "").startswith("127.0.0.1:"), seen.raw
    assert seen.field("content-length") == str(len(MINIMAL)), seen.raw


def request_ids_are_honoured_and_echoed() -> None:
    answer, seen = _through(headers=[("X-Request-ID", "mine-1")])
    assert answer.field("x-request-id") == "mine-1" == seen.field("x-request-id"), (answer, seen)
    answer, seen = _through()
    assert answer.field("x-request-id") == seen.field("x-request-id") and seen.field("x-request-id"), (answer, seen)
    # What would not fit into a log line is replaced.
    answer, seen = _through(headers=[("X-Request-ID", "x" * 500)])
    assert answer.field("x-request-id") == seen.field("x-request-id") != "x" * 500, (answer, seen)
    # The server's own does not come twice.
    answer, _ = _through(
        headers=[("X-Request-ID", "mine-2")],
        reply=b"HTTP/1.1 200 OK\r\nX-Request-Id: theirs\r\ncontent-length: 2\r\n\r\n{}",
    )
    assert answer.all("x-request-id") == ["mine-2"], answer


def the_client_is_added_to_those_it_was_forwarded_for() -> None:
    _, seen = _through()
    assert seen.field("x-forwarded-for") == "127.0.0.1", seen.raw
    _, seen = _through(headers=[("X-Forwarded-For", "198.51.100.7, 203.0.113.9")])
    assert seen.field("x-forwarded-for") == "198.51.100.7, 203.0.113.9, 127.0.0.1", seen.raw


def keys_reach_only_whom_they_are_for() -> None:
    mine = [("Authorization", "Bearer mine")]
    assert _through(headers=mine)[1].field("authorization") == "Bearer mine"
    assert _through(headers=mine, environment={"GOTONI_API_KEYS": "other,mine"})[1].field("authorization") is None
    seen = _through(headers=mine, environment={"GOTONI_API_KEYS": "mine", "GOTONI_UPSTREAM_API_KEY": "theirs"})[1]
    assert seen.field("authorization") == "Bearer theirs", seen.raw
    seen = _through(headers=mine, environment={"GOTONI_UPSTREAM_API_KEY": "theirs"})[1]
    assert seen.field("authorization") == "Bearer theirs", seen.raw


def answers_keep_their_fields_but_those_of_the_connection() -> None:
    answer, _ = _through(
        reply=b"HTTP/1.1 203 Odd Reason\r\nServer: engine\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nKeep-Alive: timeout=5\r\n"
        b"Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nx-custom: yes\r\nContent-Type: text/weird\r\nContent-Length: 2\r\n\r\nok"
    )
    assert answer.status == 203 and answer.body == b"ok" and answer.field("content-type") == "text/weird", answer
    assert answer.all("set-cookie") == ["a=1", "b=2"] and answer.field("x-custom") == "yes", answer
    assert answer.field("x-hop") is None and answer.field("keep-alive") is None, answer


def every_framing_of_an_answer_is_understood() -> None:
    whole = [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nhe\r\n3;ext=1\r\nllo\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\nhello" + Recorder.CLOSE,
        b"HTTP/1.0 200 OK\r\n\r\nhello" + Recorder.CLOSE,
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
    ]
    for reply in whole:
        answer, _ = _through(reply=reply)
        assert answer.status == 200 and answer.body == b"hello", (reply, answer)
    for status in (204, 304):
        answer, _ = _through(reply=b"HTTP/1.1 %d X\r\n\r\n" % status, path="/x", method="GET", body=b"")
        assert answer.status == status and answer.body == b"", answer


def an_answer_that_can_be_read_in_two_ways_is_none() -> None:
    for reply in (
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
        b"this is not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\ncontent-length: 5\r\n\r\nhello",
    ):
        answer, _ = _through(reply=reply, options=("--retries", "0"))
        answer.problem(502, "upstream_failed")


def an_answer_before_the_body_was_read_ends_the_connection() -> None:
    """A server that refuses a large body at its head and reads no further: its connection is not used again."""
    refusal = b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\n{}"
    with Recorder(lambda seen: refusal if seen.method == "PUT" else OK, early=1 << 20) as server:
        proxy = Proxy("--threads", "1", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            for _ in range(3):
                assert ask(proxy.port, "PUT", "/upload", b"x" * (24 << 20)).status == 413
                began = time.monotonic()
                assert ask(proxy.port, "POST", CHAT, MINIMAL).status == 200
                assert time.monotonic() - began < 2, time.monotonic() - began
            proxy.until_quiet()


def a_connection_is_used_again() -> None:
    with Recorder() as server:
        proxy = Proxy("--threads", "1", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            ask(proxy.port, "POST", CHAT, MINIMAL)
            before = server.opened
            with Raw(proxy.port) as raw:
                for _ in range(20):
                    raw.send(request("POST", CHAT, MINIMAL))
                    assert raw.answer().status == 200
            assert server.opened == before, (before, server.opened)


def a_connection_that_the_server_closed_is_no_failure() -> None:
    """Servers close idle connections whenever they like: the client does not notice."""
    with Recorder(lambda seen: b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}" + Recorder.CLOSE) as server:
        proxy = Proxy("--threads", "1", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy), Raw(proxy.port) as raw:
            for _ in range(30):
                raw.send(request("POST", CHAT, MINIMAL))
                assert raw.answer().status == 200
            assert proxy.server("a")["failures"] == 0, proxy.server("a")
            proxy.until_quiet()


def a_servers_prefix_comes_before_every_path() -> None:
    with Recorder() as server:
        proxy = Proxy(servers=[f"a=http://127.0.0.1:{server.port}/engines/one/"])
        with started(proxy):
            assert ask(proxy.port, "POST", CHAT + "?x=1", MINIMAL).status == 200
            assert server.seen[-1].target == f"/engines/one{CHAT}?x=1", server.seen[-1].target
            ask(proxy.port, "GET", "/other")
            assert server.seen[-1].target == "/engines/one/other", server.seen[-1].target
