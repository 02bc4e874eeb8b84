"""Servers that fail: what the client sees, and what the proxy learns."""

from __future__ import annotations

import json
import time

from programs import Engine, Proxy, chat, started, until
from wire import Broken, Raw, Recorder, events, request

CHAT = "/v1/chat/completions"


def _two(*options: str, speed: str = "20") -> tuple[Engine, Engine, Proxy]:
    """`a`, which round-robin would take first or second, and `b`."""
    a, b = Engine("--name", "a", "--speed", speed), Engine("--name", "b", "--speed", speed)
    return a, b, Proxy("--policy", "round-robin", *options, servers=[f"a={a.url}", f"b={b.url}"])


def errors_of_one_server_are_answered_by_another() -> None:
    for status in (500, 502, 503, 429):
        a, b, proxy = _two("--eject-after", "100")
        with started(a, b, proxy):
            a.fault(status=status)
            for number in range(8):
                answer = proxy.chat(f"{number}")
                assert answer.status == 200, (status, answer)
            assert b.served() == 8 and a.served() == 0, (a.served(), b.served())
            proxy.until_quiet()
            assert proxy.status()["total_retried"] >= 3, status


def errors_of_all_servers_are_passed_on() -> None:
    a, b, proxy = _two("--eject-after", "100")
    with started(a, b, proxy):
        for engine in (a, b):
            engine.fault(status=429, retry_after=7)
        answer = proxy.chat("x")
        assert answer.status == 429 and answer.field("retry-after") == "7", answer
        assert "asked for at /fault" in answer.text, answer
        for engine in (a, b):
            engine.fault(reset=True)
        for code in (400, 404, 422, 501):
            a.fault(status=code)
            b.fault(status=code)
            retried = proxy.status()["total_retried"]
            assert proxy.chat("x").status == code
            assert proxy.status()["total_retried"] == retried, f"{code} was tried elsewhere"
        proxy.until_quiet()


def a_server_that_hangs_is_left_for_another() -> None:
    a, b, proxy = _two("--first-byte-timeout", "300ms", "--eject-after", "100", "--unhealthy-after", "1000")
    with started(a, b, proxy):
        a.fault(hang=True)
        for number in range(4):
            began = time.monotonic()
            answer = proxy.chat(f"{number}", stream=True)
            assert answer.status == 200 and answer.text.endswith("data: [DONE]\n\n"), answer
            assert time.monotonic() - began < 2
        assert b.served() == 4
        b.fault(hang=True)
        proxy.chat("nobody").problem(504, "upstream_timeout")
        proxy.until_quiet()


def a_server_that_hangs_is_ejected() -> None:
    a, b, proxy = _two("--probe-timeout", "200ms")
    with started(a, b, proxy):
        a.fault(hang=True)
        until("a is ejected", lambda: proxy.server("a")["state"] == "ejected")
        for number in range(4):
            assert proxy.chat(f"{number}").status == 200
        proxy.until_quiet()


def a_server_that_refuses_is_left_for_another_and_ejected() -> None:
    a, b, proxy = _two()
    with started(a, b, proxy):
        a.kill()
        for number in range(6):
            assert proxy.chat(f"{number}").status == 200
        until("a is ejected", lambda: proxy.server("a")["state"] == "ejected")
        assert proxy.server("a")["held_tokens"] == 0, "a dead server's cache is believed in"
        proxy.until_quiet()


def a_connection_closed_before_an_answer_is_tried_elsewhere() -> None:
    b = Engine()
    with started(b), Recorder(lambda _: None) as a:
        proxy = Proxy(
            "--policy", "round-robin", "--eject-after", "100", servers=[f"a=http://127.0.0.1:{a.port}", f"b={b.url}"]
        )
        with started(proxy):
            for number in range(6):
                assert proxy.chat(f"{number}").status == 200
            assert len(a.seen) >= 2 and b.served() == 6, (len(a.seen), b.served())
            proxy.until_quiet()


def a_killed_server_comes_back_slowly() -> None:
    a, b, proxy = _two("--slow-start", "3s", "--max-concurrent", "10")
    with started(a, b, proxy):
        port = a.port
        a.kill()
        until("a is ejected", lambda: proxy.server("a")["state"] == "ejected")
        again = Engine("--name", "a", port=port)
        with started(again):
            until("a is back", lambda: proxy.server("a")["healthy"])
            came = time.monotonic()
            server = proxy.server("a")
            assert server["state"] == "slow-start" and server["limit"] <= 4, server
            limits = []

            def is_whole() -> bool:
                limits.append(proxy.server("a")["limit"])
                return limits[-1] == 10

            until("the limit is whole", is_whole)
            assert limits == sorted(limits) and len(set(limits)) >= 4, limits
            assert 1.5 < time.monotonic() - came < 6, time.monotonic() - came
            for number in range(6):
                assert proxy.chat(f"{number}").status == 200
            assert again.served() >= 1
            proxy.until_quiet()


def an_answer_that_breaks_off_is_seen_to_break_off() -> None:
    """By the framing, and by the events: a part is never taken for the whole."""
    a, b, proxy = _two("--eject-after", "100")
    with started(a, b, proxy):
        for engine in (a, b):
            engine.fault(cut_after_chunks=3)
        for streams in (True, False):
            body = json.dumps(chat("x", 50, stream=streams)).encode()
            with Raw(proxy.port, request("POST", CHAT, body)) as raw:
                try:
                    answer = raw.answer()
                    assert False, f"a complete answer: {answer}"
                except Broken as broken:
                    assert b"[DONE]" not in broken.body, broken
                    if streams:
                        # What came is whole events, the last of which says what happened.
                        assert b"upstream_failed" in broken.body, broken
        proxy.until_quiet()
        status = proxy.status()
        assert status["total_failed"] == 2, status


def a_crash_in_the_middle_is_seen_as_one() -> None:
    engine = Engine("--speed", "1", "--model", "h100")
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"])
        with started(proxy):
            with Raw(proxy.port, request("POST", CHAT, json.dumps(chat("x", 5_000, stream=True)).encode())) as raw:
                assert raw.head().status == 200
                engine.kill()
                try:
                    body = b"".join(raw.chunks())
                    assert False, f"a complete answer: {body[-100:]!r}"
                except Broken as broken:
                    assert b"[DONE]" not in broken.body, broken
            proxy.until_quiet()


def openais_client_notices_a_broken_stream() -> None:
    import openai

    engine = Engine()
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"])
        with started(proxy):
            engine.fault(cut_after_chunks=4)
            client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key="x", max_retries=0)
            try:
                for _ in client.chat.completions.create(
                    model="m", messages=[{"role": "user", "content": "x"}], max_tokens=30, stream=True
                ):
                    pass
                assert False, "the client took a part for the whole"
            except (openai.APIError, openai.APIConnectionError) as error:
                assert "upstream" in str(error) or "server failed" in str(error) or "peer closed" in str(error), error
            except Exception as error:  # httpx2 and httpcore2 have their own words
                assert "peer closed" in str(error) or "incomplete" in str(error), repr(error)


def an_answer_that_stops_is_ended() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

    def stops(_: object) -> bytes:
        return head + b"e\r\ndata: {\"a\":1}\r\n\r\n"

    with Recorder(stops) as server:
        proxy = Proxy("--idle-timeout", "300ms", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy), Raw(proxy.port, request("POST", CHAT, json.dumps(chat("x", stream=True)).encode())) as raw:
            began = time.monotonic()
            try:
                raw.answer()
                assert False, "a complete answer"
            except Broken:
                assert time.monotonic() - began < 2
            proxy.until_quiet()


def nobody_there_is_one_honest_error() -> None:
    """The last server stays in, for then it serves as soon as it is back; until then everybody is told at once."""
    a, b, proxy = _two()
    with started(a, b, proxy):
        ports = a.port, b.port
        a.kill()
        b.kill()
        until("one is ejected", lambda: "ejected" in (proxy.server("a")["state"], proxy.server("b")["state"]))
        with Raw(proxy.port) as raw:
            # One answer each, and the connection stays.
            for _ in range(3):
                began = time.monotonic()
                raw.send(request("POST", CHAT, json.dumps(chat("x")).encode()))
                answer = raw.answer()
                assert answer.status in (502, 503), answer
                answer.problem(answer.status, "upstream_failed" if answer.status == 502 else "no_server")
                assert answer.keeps and time.monotonic() - began < 2, answer
        assert proxy.ask("GET", "/v1/models").status in (502, 503)
        proxy.until_quiet()
        c, d = Engine(port=ports[0]), Engine(port=ports[1])
        with started(c, d):
            until("it serves again", lambda: proxy.chat("x").status == 200, 2)


def health_does_not_call_the_dead_available() -> None:
    """Who stands before the proxy asks /health whether to send anything: not while nobody listens at any server."""
    a, b, proxy = _two()
    with started(a, b, proxy):
        a.kill()
        until("half of them are", lambda: proxy.ask("GET", "/health").text.startswith("healthy: 1/2"))
        b.kill()
        until("none is", lambda: proxy.ask("GET", "/health").status == 503, 5)


def nothing_is_tried_again_after_the_first_byte() -> None:
    a, b, proxy = _two("--eject-after", "100", "--policy", "round-robin")
    with started(a, b, proxy):
        for engine in (a, b):
            engine.fault(cut_after_chunks=1)
        for number in range(4):
            with Raw(proxy.port, request("POST", CHAT, json.dumps(chat(f"{number}", 50, stream=True)).encode())) as raw:
                assert raw.head().status == 200
                try:
                    pieces = b"".join(raw.chunks())
                    assert False, f"a complete answer: {pieces!r}"
                except Broken:
                    pass
        proxy.until_quiet()
        status = proxy.status()
        assert status["total_retried"] == 0 and status["total_failed"] == 4, status
        requests = [proxy.server(name)["requests"] for name in "ab"]
        assert sum(requests) == 4, requests


def without_servers_there_is_no_server() -> None:
    proxy = Proxy(ready=False)
    with started(proxy):
        proxy.chat("x").problem(503, "no_server")
        answer = proxy.ask("GET", "/health")
        assert answer.status == 503 and answer.text.startswith("unhealthy: 0/0"), answer


def a_server_that_was_never_there_is_waited_for_and_not_for_long() -> None:
    with Recorder() as gone:
        port = gone.port
    proxy = Proxy("--queue-timeout", "400ms", servers=[f"a=http://127.0.0.1:{port}"], ready=False)
    with started(proxy):
        proxy.chat("x").problem(503, "queue_timeout")
        late = Engine(port=port)
        with started(late):
            proxy.until_up(1)
            assert proxy.chat("x").status == 200


def an_overloaded_server_gets_less_for_a_while() -> None:
    a, b, proxy = _two("--slow-start", "2s")
    with started(a, b, proxy):
        a.fault(status=503, count=1)
        for number in range(2):
            assert proxy.chat(f"{number}").status == 200
        server = proxy.server("a")
        assert server["healthy"] and server["limit"] < 10, server
        until("all of it is back", lambda: proxy.server("a")["limit"] == 10)


def the_end_of_a_stream_that_is_cut_is_an_event() -> None:
    a, b, proxy = _two("--eject-after", "100")
    with started(a, b, proxy):
        for engine in (a, b):
            engine.fault(cut_after_chunks=3)
        with Raw(proxy.port, request("POST", CHAT, json.dumps(chat("x", 50, stream=True)).encode())) as raw:
            raw.head()
            pieces = []
            try:
                pieces.extend(raw.chunks())
            except Broken as broken:
                found = events(broken.body)
                assert json.loads(found[-1])["error"]["code"] == "upstream_failed", found
