"""The end of a proxy, and its successor."""

from __future__ import annotations

import collections
import json
import os
import pathlib
import re
import signal
import socket
import tempfile
import threading
import time

from programs import Engine, Proxy, chat, started, until
from wire import Broken, Raw, ask, events, request

CHAT = "/v1/chat/completions"


def _stream(proxy: Proxy, tokens: int) -> Raw:
    """A stream that has begun."""
    raw = Raw(proxy.port, request("POST", CHAT, json.dumps(chat("x", tokens, stream=True)).encode()))
    assert raw.head().status == 200
    return raw


def _slow_engine() -> Engine:
    return Engine("--speed", "1", "--model", "h100")


def _is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
        return False
    except ConnectionRefusedError:
        return True


def a_stream_finishes_before_the_end() -> None:
    engine = _slow_engine()
    with started(engine):
        pid_file = pathlib.Path(tempfile.mkdtemp()) / "proxy.pid"
        proxy = Proxy("--pid-file", str(pid_file), servers=[f"a={engine.url}"])
        with started(proxy):
            assert int(pid_file.read_text()) == proxy.pid
            with _stream(proxy, 120) as raw, Raw(proxy.port) as idle:
                proxy.signal(signal.SIGTERM)
                until("no new connection is taken", lambda: _is_refused(proxy.port))
                body = b"".join(raw.chunks())
                assert events(body)[-1] == "[DONE]", body[-100:]
                assert raw.is_closed() and idle.is_closed()
            assert proxy.wait() == 0, proxy.words()
            assert not pid_file.exists()
            last = proxy.words().splitlines()[-1]
            assert re.search(r"stopped requests=0 tickets=0 waiting=0", last), last


def a_request_on_its_way_is_still_answered() -> None:
    """On a connection that was idle as the stop began."""
    engine = Engine()
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"])
        with started(proxy), Raw(proxy.port, request("POST", CHAT, json.dumps(chat("x")).encode())) as raw:
            assert raw.answer().status == 200
            proxy.signal(signal.SIGTERM)
            until("it stops", lambda: _is_refused(proxy.port))
            raw.send(request("POST", CHAT, json.dumps(chat("y")).encode()))
            answer = raw.answer()
            assert answer.status == 200 and not answer.keeps, answer
            assert raw.is_closed() and proxy.wait() == 0


def those_who_wait_are_served_before_the_end() -> None:
    engine = _slow_engine()
    with started(engine):
        proxy = Proxy("--max-concurrent", "1", servers=[f"a={engine.url}"])
        with started(proxy), _stream(proxy, 40) as first:
            waiting = [Raw(proxy.port, request("POST", CHAT, json.dumps(chat(f"{n}", 2)).encode())) for n in range(3)]
            until("they wait", lambda: proxy.status()["queue_size"] == 3)
            proxy.signal(signal.SIGTERM)
            assert events(b"".join(first.chunks()))[-1] == "[DONE]"
            assert [raw.answer().status for raw in waiting] == [200] * 3
            assert proxy.wait() == 0, proxy.words()


def a_second_signal_ends_it_at_once() -> None:
    engine = _slow_engine()
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"])
        with started(proxy), _stream(proxy, 10_000) as raw:
            proxy.signal(signal.SIGTERM)
            until("it stops", lambda: _is_refused(proxy.port))
            assert proxy.is_running()
            began = time.monotonic()
            proxy.signal(signal.SIGTERM)
            status = proxy.wait(5)
            assert status != 0 and time.monotonic() - began < 2, (status, time.monotonic() - began)
            try:
                list(raw.chunks())
                assert False, "the stream is complete"
            except Broken:
                pass


def the_drain_timeout_ends_what_does_not_end() -> None:
    engine = _slow_engine()
    with started(engine):
        proxy = Proxy("--drain-timeout", "1s", servers=[f"a={engine.url}"])
        with started(proxy), _stream(proxy, 10_000) as raw:
            began = time.monotonic()
            assert proxy.stop() == 1 and 0.9 < time.monotonic() - began < 4, time.monotonic() - began
            assert "cut off" in proxy.words()
            try:
                list(raw.chunks())
                assert False, "the stream is complete"
            except Broken:
                pass


def sigint_is_as_good() -> None:
    proxy = Proxy(ready=False)
    with started(proxy):
        proxy.signal(signal.SIGINT)
        assert proxy.wait() == 0


def a_stop_does_not_wait_for_a_client_that_sends_nothing() -> None:
    """Neither for half a request, nor for one that has not begun."""
    proxy = Proxy("--request-timeout", "1s", "--drain-timeout", "15s", ready=False)
    with started(proxy), Raw(proxy.port), Raw(proxy.port, b"POST /v1/chat/completions HTTP/1.1\r\nho"):
        began = time.monotonic()
        assert proxy.stop() == 0, proxy.words()
        assert time.monotonic() - began < 5, time.monotonic() - began


def a_successor_takes_the_port_without_a_gap() -> None:
    engine = Engine()
    with started(engine):
        first = Proxy("--reuse-port", "true", servers=[f"a={engine.url}"])
        with started(first), Raw(first.port) as kept:
            listen = f"127.0.0.1:{first.port}"
            second = Proxy("--reuse-port", "true", servers=[f"a={engine.url}"], listen=listen, ready=False)
            with started(second):
                # The port is both's: whom one reaches is the kernel's choice.
                until("the second is up", lambda: "server is up" in second.words())
                first.signal(signal.SIGTERM)
                served = 0
                while first.is_running():
                    assert ask(first.port, "POST", CHAT, chat(f"{served}")).status == 200
                    served += 1
                assert first.wait() == 0 and served >= 1
                assert kept.is_closed()
                assert ask(second.port, "POST", CHAT, chat("after")).status == 200
                assert second.stop() == 0


def a_successor_drops_nobody_who_connects_meanwhile() -> None:
    """Whoever the old one's listener had not yet accepted is still served: five times, with new connections all along."""
    engine = Engine()
    with started(engine):
        proxy = Proxy("--reuse-port", "true", servers=[f"a={engine.url}"])
        port, over = proxy.port, threading.Event()
        served: list[int] = []
        dropped: list[str] = []

        def ask_on() -> None:
            while not over.is_set():
                try:
                    served.append(ask(port, "GET", "/v1/models").status)
                except (OSError, Broken) as error:
                    dropped.append(repr(error))

        threads = [threading.Thread(target=ask_on) for _ in range(6)]
        try:
            for thread in threads:
                thread.start()
            for _ in range(5):
                old = proxy
                listen, servers = f"127.0.0.1:{port}", [f"a={engine.url}"]
                proxy = Proxy("--reuse-port", "true", servers=servers, listen=listen, ready=False)
                with started(old):
                    until("the new one is up", lambda: "server is up" in proxy.words())
                    assert old.stop() == 0, old.words()
        finally:
            over.set()
            for thread in threads:
                thread.join()
        with started(proxy):
            assert proxy.stop() == 0
        answers = collections.Counter(served)
        assert not dropped and set(answers) == {200}, f"answered {dict(answers)}, dropped {len(dropped)}: {dropped[:3]}"
        assert answers[200] > 50, answers


def no_port_is_shared_unless_asked_for() -> None:
    from programs import run

    first = Proxy("--reuse-port", "true", ready=False)
    with started(first):
        status, text = run("--listen", f"127.0.0.1:{first.port}")
        assert status == 1 and "cannot listen" in text, text


def a_pid_file_is_of_whom_it_names() -> None:
    path = pathlib.Path(tempfile.mkdtemp()) / "p.pid"
    proxy = Proxy("--pid-file", str(path), ready=False)
    with started(proxy):
        os.kill(int(path.read_text()), signal.SIGTERM)
        assert proxy.wait() == 0
    assert not path.exists()
