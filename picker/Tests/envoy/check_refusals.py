"""What the picker refuses, it refuses as the proxy does."""

from __future__ import annotations

import concurrent.futures

import world as here
from programs import Proxy, fresh_text, run, started
from world import shared, world


def malformed_bodies() -> None:
    its = shared()
    proxy = Proxy(servers=[f"a={its.engines[0].url}"])
    with started(proxy):
        for body in (b"{", b"[]", b"", b'{"messages": 1}', b'{"messages": [{"role": "user"}], "messages": []}'):
            theirs = its.envoy.ask("POST", "/v1/chat/completions", body)
            ours = proxy.ask("POST", "/v1/chat/completions", body)
            assert theirs.status == ours.status, (body, theirs, ours)
            if ours.status != 200:
                assert theirs.json() == ours.json(), (body, theirs, ours)
                assert theirs.field("content-type") == "application/json", theirs
                assert theirs.field("x-request-id"), theirs
    its.picker.until_quiet()


def no_server() -> None:
    with world("--unhealthy-after", "1") as its:
        for engine in its.engines:
            engine.kill()
        # The last one stays in, for it may be that only the probes fail.
        for number in range(10):
            answer = its.envoy.chat("is anybody there?")
            assert answer.status == 503, (number, answer)
        its.picker.until_quiet()


def a_full_queue() -> None:
    with world("--max-concurrent", "1", "--max-queue", "1", engine=("--speed", "1")) as its:
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(its.envoy.chat, fresh_text(4_000), 100) for _ in range(8)]
            answers = [done.result() for done in asked]
        statuses = sorted(answer.status for answer in answers)
        assert statuses == [200] * 4 + [429] * 4, statuses
        full = next(answer for answer in answers if answer.status == 429)
        assert full.json()["error"]["code"] == "queue_full" and full.field("retry-after") == "1", full
        waited = [int(answer.field("x-queue-wait-ms") or 0) for answer in answers if answer.status == 200]
        assert sum(1 for wait in waited if wait > 0) == 1, waited


def a_wait_too_long() -> None:
    with world("--max-concurrent", "1", "--queue-timeout", "200ms", engine=("--speed", "1")) as its:
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            asked = [pool.submit(its.envoy.chat, fresh_text(4_000), 200) for _ in range(4)]
            answers = [done.result() for done in asked]
        refused = [answer.json()["error"]["code"] for answer in answers if answer.status == 503]
        assert refused == ["queue_timeout"], answers


def api_keys() -> None:
    with world(environment={"GOTONI_API_KEYS": "secret"}) as its:
        answer = its.envoy.chat("hello")
        assert answer.status == 401 and answer.json()["error"]["code"] == "invalid_api_key", answer
        assert its.envoy.chat("hello", headers={"authorization": "Bearer secret"}).status == 200


def servers_must_be_addresses() -> None:
    for url in ("http://localhost:30000", "http://127.0.0.1:30000/engine"):
        status, words = run("--listen", "127.0.0.1:0", "--server", url, program=here.PICKER)
        assert status == 64 and "ADDRESS" in words, (url, status, words)
