"""Requests that wait: their order, their end."""

from __future__ import annotations

import json
import threading
import time

from programs import Engine, Proxy, chat, started, until
from wire import Answer, Raw, request

CHAT = "/v1/chat/completions"


def _busy(*options: str) -> tuple[Engine, Proxy]:
    """One slow server that takes one request at a time."""
    engine = Engine("--speed", "1", "--model", "h100")
    return engine, Proxy("--max-concurrent", "1", *options, servers=[f"a={engine.url}"])


def _send(proxy: Proxy, text: str, tokens: int, headers: dict[str, str] | None = None, **more: object) -> Raw:
    return Raw(proxy.port, request("POST", CHAT, json.dumps(chat(text, tokens, **more)).encode(), headers))


def _waiting(proxy: Proxy, count: int) -> None:
    until(f"{count} waiting", lambda: proxy.status()["queue_size"] == count)


def those_who_wait_are_told_for_how_long() -> None:
    engine, proxy = _busy()
    with started(engine, proxy):
        with _send(proxy, "first", 40, stream=True) as first:
            assert first.head().field("x-queue-wait-ms") is None
            second = _send(proxy, "second", 2)
            waited = second.answer().field("x-queue-wait-ms")
            assert waited is not None and int(waited) >= 50, waited
        proxy.until_quiet()
        assert proxy.status()["total_queued"] == 1


def who_leaves_the_queue_is_gone_at_once() -> None:
    engine, proxy = _busy()
    with started(engine, proxy):
        first = _send(proxy, "first", 2_000, stream=True)
        first.head()
        waiting = [_send(proxy, f"{number}", 1) for number in range(5)]
        _waiting(proxy, 5)
        began = time.monotonic()
        for raw in waiting:
            raw.close()
        _waiting(proxy, 0)
        assert time.monotonic() - began < 0.25, time.monotonic() - began
        assert proxy.status()["total_cancelled"] == 5
        first.close()
        proxy.until_quiet()
        assert engine.served() == 1, "a request of somebody who had left was sent"


def lower_priorities_go_first_then_the_order_of_arrival() -> None:
    engine, proxy = _busy()
    with started(engine, proxy):
        first = _send(proxy, "first", 60, stream=True)
        first.head()
        order: list[str] = []
        threads = []
        for number, priority in enumerate((5, 0, 5, -3, 0)):

            def one(name: str = f"{number}:{priority}", priority: int = priority) -> None:
                answer = proxy.chat(name, 2, priority=priority)
                assert answer.status == 200, answer
                order.append(name)

            threads.append(threading.Thread(target=one))
            threads[-1].start()
            _waiting(proxy, number + 1)
        for thread in threads:
            thread.join()
        first.close()
        assert order == ["3:-3", "1:0", "4:0", "0:5", "2:5"], order


def a_full_queue_says_when_to_come_again() -> None:
    engine, proxy = _busy("--max-queue", "2")
    with started(engine, proxy):
        first = _send(proxy, "first", 2_000, stream=True)
        first.head()
        waiting = [_send(proxy, f"{number}", 1) for number in range(2)]
        _waiting(proxy, 2)
        answer = proxy.chat("too many")
        answer.problem(429, "queue_full")
        assert int(answer.field("retry-after") or 0) >= 1, answer
        first.close()
        assert all(raw.answer().status == 200 for raw in waiting)
        proxy.until_quiet()
        assert proxy.status()["total_rejected"] == 1


def nobody_waits_for_longer_than_the_timeout() -> None:
    engine, proxy = _busy("--queue-timeout", "300ms")
    with started(engine, proxy):
        first = _send(proxy, "first", 2_000, stream=True)
        first.head()
        began = time.monotonic()
        answer = proxy.chat("patient")
        answer.problem(503, "queue_timeout")
        assert int(answer.field("retry-after") or 0) >= 1 and 0.25 < time.monotonic() - began < 1.5, answer
        first.close()
        proxy.until_quiet()
        assert proxy.chat("and now").status == 200


def no_queue_at_all() -> None:
    engine, proxy = _busy("--max-queue", "0")
    with started(engine, proxy):
        first = _send(proxy, "first", 2_000, stream=True)
        first.head()
        proxy.chat("no").problem(429, "queue_full")
        first.close()
        proxy.until_quiet()


def a_burst_is_served_by_and_by_and_within_the_limit() -> None:
    engines = [Engine("--speed", "20") for _ in range(3)]
    proxy = Proxy("--max-concurrent", "2", servers=[f"{number}={engine.url}" for number, engine in enumerate(engines)])
    with started(proxy, *engines):
        answers: list[Answer] = []
        threads = [threading.Thread(target=lambda n=n: answers.append(proxy.chat(f"{n}", 20))) for n in range(60)]
        for thread in threads:
            thread.start()
        most = 0
        while any(thread.is_alive() for thread in threads):
            status = proxy.status()
            most = max(most, *(server["proxy_tracked_running"] for server in status["servers"]))
        assert [answer.status for answer in answers] == [200] * 60
        assert most <= 2, most
        proxy.until_quiet()
