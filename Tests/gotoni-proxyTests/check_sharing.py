"""Several proxies and one NATS: what one learns the others know, and each serves on when NATS does not."""

from __future__ import annotations

import functools
import json
import pathlib
import random
import subprocess
import tempfile
import time
from typing import Any

import nats_credentials
from nats import Nats, nats
from programs import Engine, Proxy, started, until
from wire import Raw, request

BLOCK = 16


def _prompt(seed: int, blocks: int = 20) -> list[int]:
    draw = random.Random(seed)
    return [draw.randrange(150_000) for _ in range(blocks * BLOCK + 1)]


def _body(prompt: list[int], **more: Any) -> dict[str, Any]:
    return {"model": "simulated", "max_tokens": 1, "prompt": prompt, **more}


def _words(prompt: list[int], **more: Any) -> bytes:
    return json.dumps(_body(prompt, **more)).encode()


def _send(proxy: Proxy, prompt: list[int]) -> None:
    answer = proxy.ask("POST", "/v1/completions", _body(prompt))
    assert answer.status == 200, answer


def _rows(proxy: Proxy, prompt: list[int]) -> dict[str, dict[str, Any]]:
    found = proxy.post("/proxy/explain?endpoint=/v1/completions", _body(prompt))["decisions"][0]["candidates"]
    return {row["server"]: row for row in found}


def _held(proxy: Proxy, prompt: list[int]) -> dict[str, int]:
    return {name: row["matched_tokens"] for name, row in _rows(proxy, prompt).items()}


def _sharing(proxy: Proxy) -> dict[str, Any]:
    return proxy.status()["sharing"]


def _proxy(server: Nats, *options: str, **more: Any) -> Proxy:
    return Proxy("--nats", server.url, *options, **more)


def _together(*proxies: Proxy) -> None:
    for proxy in proxies:
        until("it hears the others", lambda proxy=proxy: _sharing(proxy)["siblings"] == len(proxies) - 1)


def _is_known(proxy: Proxy, prompt: list[int], where: dict[str, int]) -> None:
    until(f"{where} is known", lambda: _held(proxy, prompt) == where)


def what_one_proxy_learns_the_others_know() -> None:
    """Where a prompt lies, and that it is gone; and so the next request goes to the same server whoever is asked."""
    engines = [Engine(), Engine()]
    servers = [f"{name}={engine.url}" for name, engine in zip("ab", engines)]
    with nats() as server:
        proxies = [_proxy(server, servers=order) for order in (servers, servers[::-1])]
        with started(*engines, *proxies):
            _together(*proxies)
            for seed in range(20):
                _send(proxies[seed % 2], _prompt(seed))
            for seed in range(20):
                held = _held(proxies[seed % 2], _prompt(seed))
                assert max(held.values()) == 20 * BLOCK, held
                _is_known(proxies[1 - seed % 2], _prompt(seed), held)
            _send(proxies[0], _prompt(7))
            proxies[0].post("/proxy/cache/clear?id=a")
            until("a is empty for both", lambda: _held(proxies[1], _prompt(3))["a"] == 0)
            until("all is told", lambda: _sharing(proxies[0])["prompts_told"] == 11)
            figures = _sharing(proxies[0])
            assert figures["gaps"] == figures["unreadable"] == 0, figures
            # Twenty blocks of six bytes, and what each message begins with.
            assert 6 <= figures["bytes_per_block"] < 12, figures
            assert figures["messages_behind"] == figures["prompts_lost"] == figures["dropped"] == 0, figures


def who_joins_knows_what_was_told_before() -> None:
    engine = Engine()
    with nats() as server:
        first = _proxy(server, servers=[f"a={engine.url}"])
        with started(engine, first):
            for seed in range(300):
                _send(first, _prompt(seed, blocks=4))
            until("all is told", lambda: _sharing(first)["prompts_told"] == 300)
            # It has no server of its own: that comes from the bucket.
            second = _proxy(server)
            with started(second):
                second.until_up(1)
                until("it has caught up", lambda: _sharing(second)["catch_up_ms"] is not None)
                assert _sharing(second)["prompts_heard"] == 300, _sharing(second)
                assert all(_held(second, _prompt(seed, blocks=4))["a"] == 4 * BLOCK for seed in range(300))
                # Also when the one that told it is gone for ever.
            first.kill()
            third = _proxy(server)
            with started(third):
                third.until_up(1)
                _is_known(third, _prompt(299, blocks=4), {"a": 4 * BLOCK})


def loads_of_others_count_until_they_fall_silent() -> None:
    """Without metrics of the engine a proxy knows of others' requests only from them."""
    engine = Engine("--speed", "0.2")
    with nats() as server:
        busy, idle = (_proxy(server, "--metrics-interval", "0", servers=[f"a={engine.url}"]) for _ in range(2))
        with started(engine, busy, idle):
            _together(busy, idle)
            requests: list[Raw] = []

            def begin(seed: int) -> None:
                words = _words(_prompt(seed), max_tokens=4_000, stream=True)
                requests.append(Raw(busy.port, request("POST", "/v1/completions", words)))

            def running() -> float:
                """Milliseconds that what runs there costs a newcomer: in proportion to its tokens, here to requests."""
                row = _rows(idle, _prompt(9))["a"]
                return row["running_ms"] if row["queued_ms"] == 0 else 0

            begin(0)
            one = until("a request of the other is seen", running)
            begin(1)
            begin(2)
            until("three are", lambda: round(running() / one, 2) == 3)
            requests.pop().close()
            until("one less", lambda: round(running() / one, 2) == 2)
            busy.kill()
            killed = time.monotonic()
            until("nobody's requests are forgotten", lambda: running() == 0)
            assert time.monotonic() - killed < 6
            for each in requests:
                each.close()


def servers_and_policy_are_the_groups() -> None:
    a, b = Engine(), Engine()
    with nats() as server:
        one, other = (_proxy(server, servers=[f"a={a.url}"]) for _ in range(2))
        with started(a, b, one, other):
            _together(one, other)
            one.post("/proxy/servers", {"id": "b.2", "url": b.url})
            other.until_up(2)
            one.post("/proxy/servers/drain?id=b.2")
            until("it drains at the other", lambda: other.server("b.2")["state"] == "draining")
            other.post("/proxy/servers/undrain?id=b.2")
            until("it serves again at the one", lambda: one.server("b.2")["state"] != "draining")
            other.post("/proxy/policy", {"policy": "least-load"})
            other.post("/proxy/tune", {"ms_per_token": 0.5})
            until("the policy is the other's", lambda: one.status()["routing_policy"] == "least-load")
            until("the knob as well", lambda: one.status()["ms_per_token"] == 0.5)
            assert one.ask("DELETE", "/proxy/servers?id=a").status == 200
            other.until_up(1)
            # Who is started with a server that was removed from the group does not bring it back.
            late = _proxy(server, servers=[f"a={a.url}", f"b.2={b.url}"], ready=False)
            with started(late):
                until("it follows", lambda: [each["id"] for each in late.status()["servers"]] == ["b.2"])
                assert late.status()["routing_policy"] == "least-load"
            assert [each["id"] for each in one.status()["servers"]] == ["b.2"]


def _tuner(proxy: Proxy) -> dict[str, Any]:
    return proxy.get("/proxy/tune/status")


def _weight(proxy: Proxy, knob: str) -> tuple[float, float] | None:
    """As it was set, and as the incumbent has it."""
    found = [(each["home"], each["incumbent"]) for each in _tuner(proxy)["weights"] if each["knob"] == knob]
    return found[0] if found else None


def _name(proxy: Proxy) -> str:
    return _sharing(proxy)["proxy"]


def _tunes(proxy: Proxy, others: list[Proxy], phase: str = "warming") -> None:
    """It does, as all of them know, and they follow it."""
    for each in others:
        until("it is followed", lambda each=each: (_tuner(each)["phase"], _tuner(each)["tuned_by"]) == ("following", _name(proxy)))
    assert _tuner(proxy)["phase"] == phase, _tuner(proxy)
    until("its name is known", lambda: _tuner(proxy)["tuned_by"] == _name(proxy))


def one_proxy_tunes_and_the_others_follow() -> None:
    engine = Engine()
    with nats() as server:
        one, two, three = (_proxy(server, "--policy", "gorgo", servers=[f"a={engine.url}"]) for _ in range(3))
        with started(engine, one, two, three):
            _together(one, two, three)
            one.post("/proxy/tune/start", {"ttft_ms": 5_000})
            _tunes(one, [two, three])
            assert _tuner(two)["ttft_limit_ms"] == 5_000, _tuner(two)
            assert two.metric('gotoni_tuner_phase{phase="following"}') == 1
            refused = two.ask("POST", "/proxy/tune/start")
            assert refused.status == 409 and _name(one) in refused.text, refused
            assert _tuner(two)["phase"] == "following"
            one.post("/proxy/tune/start")

            # What an operator sets is home for all.
            two.post("/proxy/tune", {"queued_weight": 0.25})
            for each in (one, two, three):
                until("it is home", lambda each=each: _weight(each, "queued_weight") == (0.25, 0.25))
            _tunes(one, [two, three])

            # Another has found something, and so the one gives way: here an operator says so, with `nats kv put`.
            found = {"proxy": "9f", "phase": "on", "limits": {"ttft_ms": 400, "itl_ms": 40}}
            found |= {"home": {"rtt_weight": 1}, "weights": {"rtt_weight": 2}}
            server.publish("$KV.gotoni-gotoni.tuner", json.dumps(found).encode())
            for each in (one, two, three):
                until("it follows", lambda each=each: (_tuner(each)["phase"], _weight(each, "rtt_weight")) == ("following", (1, 2)))
            assert one.get("/proxy/tune")["rtt_weight"] == 1, "what was set stays home"

            # Nobody hears that one, so another may begin, and goes on from there.
            until("it may be started", lambda: two.ask("POST", "/proxy/tune/start").status == 200)
            _tunes(two, [one, three])
            for each in (one, two, three):
                assert (_weight(each, "rtt_weight"), _tuner(each)["ttft_limit_ms"]) == ((1, 2), 400), _tuner(each)

            # Brakes hold for all, wherever they are pulled.
            assert three.post("/proxy/tune/freeze")["phase"] == "frozen"
            _tunes(three, [one, two], "frozen")
            # And a start after one counts, however soon it comes.
            two.post("/proxy/tune/freeze")
            two.post("/proxy/tune/start")
            _tunes(two, [one, three])
            assert one.post("/proxy/tune/rollback")["phase"] == "frozen"
            _tunes(one, [two, three], "frozen")
            for each in (one, two, three):
                assert _weight(each, "rtt_weight") == (1, 1), _tuner(each)

            server.publish("$KV.gotoni-gotoni.tuner", b"{")
            until("it is repaired", lambda: two.words().count("cannot be read") and _tuner(two)["tuned_by"] == _name(one))
            _tunes(one, [two, three], "frozen")
            three.post("/proxy/policy", {"policy": "random"})
            for each in (one, two, three):
                until("there is nothing to tune", lambda each=each: _tuner(each)["phase"] == "off")


def what_a_dead_tuner_found_stays_until_another_is_started() -> None:
    engine = Engine()
    with nats() as server:
        one, two, three = (_proxy(server, "--policy", "gorgo", servers=[f"a={engine.url}"]) for _ in range(3))
        with started(engine, one, two, three):
            _together(one, two, three)
            one.post("/proxy/tune/start", {"ttft_ms": 700})
            _tunes(one, [two, three])
            # Without NATS it tunes on, they keep what they have, and nobody begins anew.
            server.kill()
            until("it is noticed", lambda: not any(_sharing(each)["connected"] for each in (one, two, three)))
            assert [_tuner(each)["phase"] for each in (one, two, three)] == ["warming", "following", "following"]
            answer = two.ask("POST", "/proxy/tune/start")
            assert answer.status == 409 and "NATS" in answer.text, answer
            one.post("/proxy/tune/start", {"ttft_ms": 800})
            server.again()
            _together(one, two, three)
            until("what was changed meanwhile", lambda: _tuner(two)["ttft_limit_ms"] == 800)
            _tunes(one, [two, three])
            one.kill()
            killed = time.monotonic()
            until("another may begin", lambda: three.ask("POST", "/proxy/tune/start").status == 200)
            assert time.monotonic() - killed > 1, "it was asked whether it still tunes"
            _tunes(three, [two])
            assert _tuner(three)["ttft_limit_ms"] == 800
            # Who joins follows too.
            four = _proxy(server, "--policy", "gorgo", servers=[f"a={engine.url}"])
            with started(four):
                _tunes(three, [two, four])
                assert four.ask("POST", "/proxy/tune/start").status == 409


def two_that_begin_at_once_are_one() -> None:
    engine = Engine()
    with nats() as server:
        proxies = [_proxy(server, "--policy", "gorgo", servers=[f"a={engine.url}"]) for _ in range(2)]
        with started(engine, *proxies):
            _together(*proxies)
            requests = [Raw(each.port, request("POST", "/proxy/tune/start", b"")) for each in proxies]
            answers = [each.answer().status for each in requests]
            assert 200 in answers and set(answers) <= {200, 409}, answers
            until("one tunes", lambda: sorted(_tuner(each)["phase"] for each in proxies) == ["following", "warming"])


def without_nats_each_serves_on_and_they_heal() -> None:
    """Killed, and frozen so that it takes what is sent and says nothing."""
    engine = Engine()
    for fault in ("killed", "frozen"):
        with nats() as server:
            one, other = (_proxy(server, servers=[f"a={engine.url}"]) for _ in range(2))
            with started(one, other):
                _together(one, other)
                server.kill() if fault == "killed" else server.freeze(True)
                until("it is noticed", lambda: not _sharing(one)["connected"])
                for seed in range(50):
                    _send(one, _prompt(seed))
                assert _held(one, _prompt(49))["a"] and not _held(other, _prompt(49))["a"]
                one.post("/proxy/tune", {"ms_per_token": 0.7})
                server.again() if fault == "killed" else server.freeze(False)
                _together(one, other)
                _is_known(other, _prompt(49), {"a": 20 * BLOCK})
                _is_known(other, _prompt(0), {"a": 20 * BLOCK})
                until("what was changed meanwhile", lambda: other.status()["ms_per_token"] == 0.7)
                _send(other, _prompt(51))
                _is_known(one, _prompt(51), {"a": 20 * BLOCK})
                assert _sharing(one)["unreadable"] == 0 == _sharing(other)["unreadable"]
                one.until_quiet()
                other.until_quiet()
    with started(engine):
        pass


def who_leaves_is_missed_at_once() -> None:
    engine = Engine()
    with nats() as server:
        one, other = (_proxy(server, servers=[f"a={engine.url}"]) for _ in range(2))
        with started(engine, one, other):
            _together(one, other)
            assert one.stop() == 0
            # Not after the silence of four seconds.
            until("it is missed", lambda: _sharing(other)["siblings"] == 0, limit=2)


def what_cannot_be_read_harms_nobody() -> None:
    draw = random.Random(1)
    engine = Engine()
    with nats() as server:
        proxy = _proxy(server, servers=[f"a={engine.url}"])
        with started(engine, proxy):
            until("it shares", lambda: _sharing(proxy)["connected"])
            junk = [bytes([1, draw.randrange(3)]) + draw.randbytes(draw.randrange(60)) for _ in range(200)]
            server.publish("gotoni.gotoni.prompts", b"", *junk)
            server.publish("gotoni.gotoni.loads", b"", *junk)
            until("all were seen", lambda: _sharing(proxy)["messages_heard"] >= 402)
            figures = _sharing(proxy)
            assert figures["unreadable"] + figures["gaps"] >= 300, figures
            _send(proxy, _prompt(1))
            _is_known(proxy, _prompt(1), {"a": 20 * BLOCK})


def secrets_of_nats_are_used_and_not_shown() -> None:
    engine = Engine()
    with nats("--user", "gotoni", "--pass", "s3cret") as server:
        url = server.url.replace("://", "://gotoni:s3cret@")
        proxy = Proxy(servers=[f"a={engine.url}"], environment={"GOTONI_NATS": url})
        refused = Proxy(servers=[f"a={engine.url}"], environment={"GOTONI_NATS": url.replace("s3", "S3")})
        with started(engine, proxy, refused):
            until("it shares", lambda: _sharing(proxy)["connected"])
            until("it is told why not", lambda: "uthorization" in (_sharing(refused)["trouble"] or ""))
            for each in (proxy, refused):
                _send(each, _prompt(1))
                assert "3cret" not in each.ask("GET", "/proxy/status").text + each.words()
            assert _sharing(proxy)["nats"] == server.url



@functools.cache
def _certificate(name: str) -> tuple[str, str]:
    """Self-signed, so an authority of its own; and its key."""
    folder = pathlib.Path(tempfile.mkdtemp())
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1"
    names = ["-subj", f"/CN={name}", "-addext", f"subjectAltName=DNS:{name}"]
    subprocess.run([*command.split(), *names, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    return certificate, key


def nats_over_tls_is_spoken_with_whom_it_should_and_else_not() -> None:
    """A server and a client that show each other certificates; and whoever is wrong in one thing says so, and serves."""
    engine = Engine()
    certificate, key = _certificate("localhost")
    own, own_key = _certificate("gotoni")
    other, other_key = _certificate("other")
    options = ["--tls", "--tlscert", certificate, "--tlskey", key, "--tlsverify", "--tlscacert", own]
    with nats(*options, "--user", "gotoni", "--pass", "s3cret") as server:
        right = {
            "GOTONI_NATS": f"tls://gotoni:s3cret@localhost:{server.port}",
            "GOTONI_NATS_CA": certificate, "GOTONI_NATS_CERT": own, "GOTONI_NATS_KEY": own_key,
        }  # fmt: skip
        wrong = {
            "self-signed certificate": {"GOTONI_NATS_CA": other},
            "does not take our certificate": {"GOTONI_NATS_CERT": other, "GOTONI_NATS_KEY": other_key},
            "uthorization": {"GOTONI_NATS": f"tls://gotoni:S3cret@localhost:{server.port}"},
            # What is vouched for is localhost.
            "mismatch": {"GOTONI_NATS": f"tls://gotoni:s3cret@127.0.0.1:{server.port}"},
        }
        servers = [f"a={engine.url}"]
        proxies = [Proxy(servers=servers, environment=right) for _ in range(2)]
        refused = {why: Proxy(servers=servers, environment=right | each) for why, each in wrong.items()}
        nameless = {name: value for name, value in right.items() if name in ("GOTONI_NATS", "GOTONI_NATS_CA")}
        refused["or wants one"] = Proxy(servers=servers, environment=nameless)
        with started(engine, *proxies, *refused.values()):
            _together(*proxies)
            _send(proxies[0], _prompt(1))
            _is_known(proxies[1], _prompt(1), {"a": 20 * BLOCK})
            for why, each in refused.items():
                until("it is told why not", lambda: why in (_sharing(each)["trouble"] or ""))
                assert not _sharing(each)["connected"] and why in each.words(), each.words()
                _send(each, _prompt(2))
                assert each.words().count("nothing is shared") <= 4, "it says so again and again"
            for each in (*proxies, *refused.values()):
                assert "3cret" not in each.ask("GET", "/proxy/status").text + each.words()
            assert _held(proxies[0], _prompt(2)) == {"a": 0}, "nobody else's prompts came in"


def a_credentials_file_is_used() -> None:
    engine = Engine()
    with tempfile.TemporaryDirectory() as folder:
        configuration, credentials, strange = nats_credentials.write(pathlib.Path(folder))
        with nats("-c", str(configuration)) as server:
            proxies = [_proxy(server, "--nats-credentials", str(credentials), servers=[f"a={engine.url}"]) for _ in range(2)]
            refused = [
                _proxy(server, servers=[f"a={engine.url}"]),
                _proxy(server, "--nats-credentials", str(strange), servers=[f"a={engine.url}"]),
            ]
            with started(engine, *proxies, *refused):
                _together(*proxies)
                _send(proxies[0], _prompt(1))
                _is_known(proxies[1], _prompt(1), {"a": 20 * BLOCK})
                for each in refused:
                    until("it is told why not", lambda each=each: "uthorization" in (_sharing(each)["trouble"] or ""))
                    _send(each, _prompt(2))
