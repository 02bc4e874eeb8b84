"""Who may do what."""

from __future__ import annotations

import re

from programs import Engine, Proxy, chat, run, started
from wire import Answer, Raw, ask, request

CHAT = "/v1/chat/completions"
CONTROL = ("/proxy/status", "/metrics", "/proxy/servers", "/proxy/tune", "/proxy/metrics/export", "/proxy/explain")


def _bearer(token: str) -> dict[str, str]:
    return {"authorization": f"Bearer {token}"}


def api_keys() -> None:
    engine = Engine()
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"], environment={"GOTONI_API_KEYS": "one, two"})
        with started(proxy):
            for headers in (None, _bearer("three"), _bearer("on"), _bearer("onee"), {"authorization": "Basic one"}):
                answer = proxy.chat("hi", headers=headers)
                answer.problem(401, "invalid_api_key")
                assert answer.field("www-authenticate") == "Bearer", answer
                proxy.ask("GET", "/v1/models", headers=headers).problem(401, "invalid_api_key")
            for key in ("one", "two"):
                assert proxy.chat("hi", headers=_bearer(key)).status == 200
            assert proxy.ask("GET", "/health").status == 200
            # Refused before the body is read, so the connection ends; without a body it goes on.
            with Raw(proxy.port) as raw:
                raw.send(request("GET", "/v1/models", b""))
                assert raw.answer().status == 401
                raw.send(request("POST", CHAT, b"{}" * 1000)[:-1000])
                answer = raw.answer()
                assert answer.status == 401 and answer.field("connection") == "close", answer


def an_engines_key_is_sent_by_the_proxy() -> None:
    engine = Engine("--api-key", "theirs")
    with started(engine):
        proxy = Proxy(
            servers=[f"a={engine.url}"],
            environment={"GOTONI_API_KEYS": "ours", "GOTONI_UPSTREAM_API_KEY": "theirs"},
        )
        with started(proxy):
            assert proxy.chat("hi", headers=_bearer("ours")).status == 200
            assert proxy.chat("hi", headers=_bearer("theirs")).status == 401


def the_admin_token_opens_control() -> None:
    proxy = Proxy(environment={"GOTONI_ADMIN_TOKEN": "secret", "GOTONI_API_KEYS": "key"}, ready=False)
    with started(proxy):
        for path in CONTROL:
            for headers in (None, _bearer("secre"), _bearer("key"), {"authorization": "secret"}):
                proxy.ask("GET", path, headers=headers).problem(401, "admin_token")
        for path in CONTROL[:4]:
            assert proxy.ask("GET", path, headers=_bearer("secret")).status == 200, path
        for path in ("/health", "/proxy/health", "/dashboard"):
            assert proxy.ask("GET", path).status in (200, 503), path
        # The admin's token is no API key.
        proxy.chat("hi", headers=_bearer("secret")).problem(401, "invalid_api_key")
        proxy.ask("POST", "/proxy/cache/clear", b"").problem(401, "admin_token")


def off_loopback_there_is_no_control_without_a_token() -> None:
    """An address that is loopback, written so that the proxy cannot know."""
    try:
        proxy = Proxy(listen="[0:0:0:0:0:0:0:1]:0", ready=False)
    except AssertionError as error:
        assert "cannot listen" in str(error)
        return
    with started(proxy):
        answer = ask(proxy.port, "GET", "/proxy/status", host="::1")
        answer.problem(403, "no_admin_token")
        assert ask(proxy.port, "GET", "/health", host="::1").status == 503


def an_admin_listener_off_loopback_wants_a_token() -> None:
    status, text = run("--listen", "127.0.0.1:0", "--admin-listen", "0.0.0.0:0")
    assert status == 1 and "GOTONI_ADMIN_TOKEN" in text, text


def the_admin_listener_serves_control_only() -> None:
    engine = Engine()
    with started(engine):
        proxy = Proxy("--admin-listen", "127.0.0.1:0", servers=[f"a={engine.url}"])
        with started(proxy):
            line = proxy.next_line()
            port = int(line.rsplit(":", 1)[1])
            assert re.fullmatch(r"gotoni-proxy admin on http://127\.0\.0\.1:\d+", line), line
            assert ask(port, "GET", "/proxy/status").status == 200
            ask(port, "POST", CHAT, chat("x")).problem(404, "unknown_endpoint")
            ask(port, "GET", "/v1/models").problem(404, "unknown_endpoint")
            assert engine.served() == 0


def a_web_page_cannot_control_in_its_visitors_name() -> None:
    proxy = Proxy(ready=False)
    with started(proxy):

        def get(headers: dict[str, str]) -> Answer:
            return proxy.ask("GET", "/proxy/status", headers=headers)

        get({"host": "evil.example"}).problem(403, "host")
        get({"host": "127.0.0.1.evil.example"}).problem(403, "host")
        get({"host": "localhost.evil.example"}).problem(403, "host")
        get({"origin": "https://evil.example"}).problem(403, "origin")
        get({"origin": "null"}).problem(403, "origin")
        for host in (f"localhost:{proxy.port}", f"127.0.0.1:{proxy.port}", "[::1]"):
            assert get({"host": host}).status == 200, host
            assert get({"host": host, "origin": f"http://{host}"}).status == 200, host
        answer = proxy.ask("POST", "/proxy/policy", b"random", {"origin": "https://evil.example"})
        answer.problem(403, "origin")
        assert proxy.status()["routing_policy"] == "gorgo"
