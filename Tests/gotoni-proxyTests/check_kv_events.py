"""Engines that publish what they store and evict: the proxy's picture of their caches, and what it says when it has none."""

from __future__ import annotations

import random
import socket
import time
from typing import Any

from programs import Engine, Proxy, run, started, until
from wire import ask

BLOCK = 16


def _ports(host: str = "127.0.0.1") -> tuple[int, int]:
    """Two ports that were free a moment ago."""
    with socket.socket() as one, socket.socket() as other:
        one.bind((host, 0))
        other.bind((host, 0))
        return one.getsockname()[1], other.getsockname()[1]


def _prompt(seed: int, blocks: int = 20) -> list[int]:
    """Ids that every side reads as they are; the last one fills no block."""
    draw = random.Random(seed)
    return [draw.randrange(150_000) for _ in range(blocks * BLOCK + 1)]


def _body(prompt: list[int] | str) -> dict[str, Any]:
    return {"model": "simulated", "max_tokens": 1, "prompt": prompt}


def _send(proxy: Proxy, prompt: list[int] | str) -> dict[str, Any]:
    answer = proxy.ask("POST", "/v1/completions", _body(prompt))
    assert answer.status == 200, answer
    return answer.json()["usage"]


def _matched(proxy: Proxy, prompt: list[int], server: str = "a") -> int:
    found = proxy.post("/proxy/explain?endpoint=/v1/completions", _body(prompt))["decisions"][0]["candidates"]
    return next(row["matched_tokens"] for row in found if row["server"] == server)


def _said(engine: Engine) -> int:
    """Messages that it has published."""
    return ask(engine.port, "GET", "/server_info").json()["simulator"]["kv_event_batches"]


def _in_force(proxy: Proxy, name: str = "a") -> dict[str, Any]:
    """Until events of this server are in force and nothing else bounds what is believed of it."""

    def holds() -> Any:
        server = proxy.server(name)
        return server["knowledge"] == "kv_events" and server["kv_capacity_tokens"] is None and server

    return until("KV events in force", holds)


def evictions_are_followed() -> None:
    """A cache of six prompts, and twelve: of each is believed what the engine still has."""
    events, replay = _ports()
    engine = Engine("--kv-events", f"{events}/{replay}", "--kv-tokens", "2048")
    proxy = Proxy("--kv-events", f"{events}/{replay}", servers=[f"a={engine.url}"])
    with started(engine, proxy):
        _in_force(proxy)
        prompts = [_prompt(seed) for seed in range(12)]
        for prompt in prompts:
            _send(proxy, prompt)
        until("the first is known to be gone", lambda: _matched(proxy, prompts[0]) == 0)
        until("the last is there", lambda: _matched(proxy, prompts[-1]) == 20 * BLOCK)
        proxy.until_quiet()
        server = proxy.server("a")
        document = server["kv_events"]
        assert server["held_tokens"] <= 2048, server
        assert document["blocks_removed"] > 0 and document["complete"] and document["warning"] is None, document
        assert document["gaps"] == document["losses"] == document["unreadable"] == document["refused"] == 0, document
        # What is predicted is what the engine then finds.
        for prompt in reversed(prompts):
            until("all it said is known", lambda: proxy.server("a")["kv_events"]["applied"] == _said(engine))
            predicted = _matched(proxy, prompt)
            found = _send(proxy, prompt)["prompt_tokens_details"]["cached_tokens"]
            assert abs(predicted - found) <= BLOCK, (predicted, found)
        name = 'gotoni_server_knowledge{server="a",from="kv_events"}'
        assert proxy.metric(name) == 1 and proxy.metric('gotoni_server_kv_events_connected{server="a"}') == 1
        # What an operator makes the proxy forget, the engine says again.
        proxy.post("/proxy/cache/clear")
        until("it comes again", lambda: _matched(proxy, prompts[0]) == 20 * BLOCK)


def a_late_subscriber_learns_what_came_before() -> None:
    """Also if the engine says nothing any more."""
    events, replay = _ports()
    engine = Engine("--kv-events", f"{events}/{replay}")
    with started(engine):
        prompts = [_prompt(seed) for seed in range(5)]
        for prompt in prompts:
            assert ask(engine.port, "POST", "/v1/completions", _body(prompt)).status == 200
        proxy = Proxy("--kv-events", f"{events}/{replay}", servers=[f"a={engine.url}"])
        with started(proxy):
            _in_force(proxy)
            assert all(_matched(proxy, prompt) == 20 * BLOCK for prompt in prompts), proxy.server("a")
            assert proxy.server("a")["kv_events"]["last_message_ms_ago"] is None


def without_replays_the_engines_size_still_bounds() -> None:
    """What was stored before cannot be known, so what is evicted may have no name."""
    events, _ = _ports()
    engine = Engine("--kv-events", f"{events}", "--kv-tokens", "4096")
    with started(engine):
        assert ask(engine.port, "POST", "/v1/completions", _body(_prompt(1))).status == 200
        proxy = Proxy("--kv-events", f"{events}", servers=[f"a={engine.url}"])
        with started(proxy):
            until("connected", lambda: (proxy.server("a")["kv_events"] or {}).get("connected"))
            _send(proxy, _prompt(2))
            until("in force", lambda: proxy.server("a")["knowledge"] == "kv_events")
            assert not proxy.server("a")["kv_events"]["complete"]
            until("bounded by its size", lambda: proxy.server("a")["kv_capacity_tokens"] == 4096)
            # Once its cache has been empty, all is known.
            until("nothing runs there", lambda: ask(engine.port, "POST", "/flush_cache", b"").status == 200)
            _in_force(proxy)
            assert _matched(proxy, _prompt(2)) == 0


def an_engine_that_is_back_is_noticed_within_a_second() -> None:
    events, replay = _ports()
    options = ("--kv-events", f"{events}/{replay}")
    engine = Engine(*options)
    proxy = Proxy(*options, servers=[f"a={engine.url}"])
    again: list[Engine] = []
    with started(engine, proxy):
        _in_force(proxy)
        _send(proxy, _prompt(1))
        until("it is known", lambda: _matched(proxy, _prompt(1)) == 20 * BLOCK)
        try:
            for turn in (1, 2):
                (again or [engine])[-1].kill()
                until("the connection is gone", lambda: not proxy.server("a")["kv_events"]["connected"], 2.0)
                again.append(Engine(*options, port=engine.port))
                until("it is there again", lambda: proxy.server("a")["kv_events"]["connected"], 1.0)
                until("as another", lambda: proxy.server("a")["kv_events"]["restarts"] == turn, 1.0)
                _in_force(proxy)
                assert _matched(proxy, _prompt(turn)) == 0
                proxy.until_up(1)
                until("its new words are heard", lambda: _send(proxy, _prompt(turn + 1)) and _knows(proxy, turn + 1))
        finally:
            for program in again:
                program.kill()


def _knows(proxy: Proxy, seed: int) -> bool:
    return _matched(proxy, _prompt(seed)) == 20 * BLOCK


def a_crash_without_a_new_process_is_a_restart() -> None:
    """Connections cut, numbers from 0, cache empty: as fast as that."""
    events, replay = _ports()
    engine = Engine("--kv-events", f"{events}/{replay}")
    proxy = Proxy("--kv-events", f"{events}/{replay}", servers=[f"a={engine.url}"])
    with started(engine, proxy):
        _in_force(proxy)
        for seed in range(3):
            _send(proxy, _prompt(seed))
        until("all known", lambda: all(_knows(proxy, seed) for seed in range(3)))
        engine.fault(crash=True)
        until("it is another", lambda: proxy.server("a")["kv_events"]["restarts"] == 1)
        until("nothing is believed", lambda: not any(_matched(proxy, _prompt(seed)) for seed in range(3)))


def silent_events_warn() -> None:
    """The port belongs to an engine that nobody asks anything."""
    events, replay = _ports()
    other = Engine("--kv-events", f"{events}/{replay}", "--name", "other")
    engine = Engine()
    proxy = Proxy("--kv-events", f"{events}/{replay}", servers=[f"a={engine.url}"])
    with started(other, engine, proxy):
        _in_force(proxy)
        _send(proxy, _prompt(1))
        assert proxy.server("a")["kv_events"]["warning"] is None
        warning = "said nothing about its cache"
        until("a warning", lambda: warning in (proxy.server("a")["kv_events"]["warning"] or ""), 15.0)
        until("a line in the log", lambda: warning in proxy.words())
        for _ in range(5):
            _send(proxy, _prompt(1))
        assert proxy.words().count(warning) == 1, proxy.words()
        assert proxy.metric('gotoni_server_kv_events_silent{server="a"}') == 1


def what_does_not_fit_is_said() -> None:
    events, replay = _ports()
    engine = Engine("--kv-events", f"{events}/{replay}", "--kv-tokens", "100000")
    options = ("--kv-events", f"{events}/{replay}")
    wide = Proxy(*options, "--block-tokens", "64", servers=[f"a={engine.url}"])
    fits = Proxy(*options, servers=[f"a={engine.url}"])
    with started(engine, wide, fits):
        for proxy in (wide, fits):
            until("connected", lambda: (proxy.server("a")["kv_events"] or {}).get("connected"))
        _send(wide, _prompt(1))
        until("why not", lambda: "blocks of 16 tokens" in (wide.server("a")["kv_events"]["warning"] or ""))
        assert wide.server("a")["knowledge"] != "kv_events"
        until("bounded by its size", lambda: wide.server("a")["kv_capacity_tokens"] == 100_000)
        # Estimated tokens are not the engine's, so it never evicts them: its size bounds them as before.
        _in_force(fits)
        _send(fits, "a text, not ids")
        until("bounded again", lambda: fits.server("a")["kv_capacity_tokens"] == 100_000)
        assert "estimated" in fits.server("a")["kv_events"]["warning"]
        assert "--tokenizer" in fits.words()


def ports_are_checked() -> None:
    for text in ("0", "70000", "5557/5557", "5557:5558", "tcp://x:1"):
        status, said = run("--server", "http://127.0.0.1:9", "--kv-events", text)
        assert status == 1 and "is not PORT[/REPLAY_PORT]" in said, (text, status, said)
    status, said = run("--server", "http://127.0.0.1:9", "--kv-events", "5557/5558", "--print-config")
    assert status == 0 and "kv-events: 5557/5558" in said, said


def a_server_without_events_is_as_before() -> None:
    """Nobody listens at the port; requests do not care, and stopping does not wait for it."""
    events, replay = _ports()
    engine = Engine("--kv-tokens", "100000")
    proxy = Proxy("--kv-events", f"{events}/{replay}", servers=[f"a={engine.url}"])
    with started(engine, proxy):
        _send(proxy, _prompt(1))
        until("no connection", lambda: "no connection" in (proxy.server("a")["kv_events"] or {}).get("warning", ""))
        assert proxy.server("a")["kv_capacity_tokens"] == 100_000
        assert _matched(proxy, _prompt(1)) == 20 * BLOCK
        began = time.monotonic()
        assert proxy.stop() == 0
        assert time.monotonic() - began < 5


def predictions_that_are_off_are_an_alarm() -> None:
    """An engine that forgets, and tells nobody: what is predicted is not what it finds."""
    engine = Engine()
    proxy = Proxy(servers=[f"a={engine.url}"])
    with started(engine, proxy):
        for _ in range(20):
            _send(proxy, _prompt(1))
        until("reports", lambda: proxy.server("a")["parity"]["recent_difference"] == 0)
        for _ in range(12):
            until("nothing runs there", lambda: ask(engine.port, "POST", "/flush_cache", b"").status == 200)
            _send(proxy, _prompt(1))
        until("an alarm", lambda: proxy.server("a")["parity"]["off"])
        assert proxy.server("a")["parity"]["recent_difference"] > 0.2
        assert proxy.metric('gotoni_server_parity_off{server="a"}') == 1
        assert proxy.words().count("what is predicted to be cached is not what the engine finds") == 1
        proxy.until_quiet()
