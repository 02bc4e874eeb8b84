"""TLS on both sides, and addresses of both kinds."""

from __future__ import annotations

import json
import pathlib
import ssl
import subprocess
import tempfile

import httpx

from certificates import client_context, localhost
from programs import Engine, Proxy, chat, started, until
from wire import LIMIT_S, Recorder, ask

CHAT = "/v1/chat/completions"


def _server_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*localhost())
    return context


def https_is_served() -> None:
    engine = Engine()
    with started(engine):
        certificate, key = localhost()
        proxy = Proxy("--tls-cert", certificate, "--tls-key", key, servers=[f"a={engine.url}"], ready=False)
        with started(proxy):
            assert proxy.url.startswith("https://"), proxy.line
            up = lambda: ask(proxy.port, "GET", "/health", tls=client_context()).status == 200  # noqa: E731
            until("a server is up", up)
            with httpx.Client(base_url=f"https://localhost:{proxy.port}", verify=client_context(), timeout=LIMIT_S) as client:
                for streams in (False, True):
                    answer = client.post(CHAT, json=chat("x", 3, stream=streams))
                    assert answer.status_code == 200, answer.text
            done = subprocess.run(
                ["curl", "-sS", "--cacert", certificate, "--max-time", "20", f"https://127.0.0.1:{proxy.port}/v1/models"],
                capture_output=True,
                text=True,
            )
            assert "simulated" in done.stdout, done
            old = ssl.create_default_context(cafile=certificate)
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
            try:
                ask(proxy.port, "GET", "/health", tls=old)
                assert False, "TLS 1.1 is spoken"
            except (ssl.SSLError, ConnectionResetError):
                pass
            # Plain text to the TLS port hurts nobody.
            try:
                ask(proxy.port, "GET", "/health")
                assert False, "plain text is answered"
            except Exception as error:
                assert not isinstance(error, AssertionError) or "plain text" not in str(error)
            assert up() and proxy.is_running()


def an_upstream_nobody_vouches_for_is_refused() -> None:
    with Recorder(tls=_server_context()) as server:
        url = f"https://127.0.0.1:{server.port}/engine"
        proxy = Proxy("--queue-timeout", "500ms", servers=[f"a={url}"], ready=False)
        with started(proxy):
            proxy.chat("x").problem(503, "queue_timeout")
            assert not proxy.server("a")["healthy"]
        assert server.seen == []
        # Named, it is taken; another's name does not help.
        proxy = Proxy("--queue-timeout", "500ms", "--tls-insecure", "b", servers=[f"a={url}"], ready=False)
        with started(proxy):
            proxy.chat("x").problem(503, "queue_timeout")
        for name in ("a", "*"):
            proxy = Proxy("--tls-insecure", name, servers=[f"a={url}"])
            with started(proxy):
                before = len(server.seen)
                assert proxy.chat("x").status == 200
                assert len(server.seen) == before + 1 and server.seen[-1].target == f"/engine{CHAT}", server.seen
                assert proxy.stop() == 0


def an_upstream_without_tls_at_an_https_address_is_refused() -> None:
    engine = Engine()
    with started(engine):
        proxy = Proxy(
            "--queue-timeout", "500ms", "--tls-insecure", "*", "--probe-timeout", "500ms",
            servers=[f"a=https://127.0.0.1:{engine.port}"], ready=False,
        )
        with started(proxy):
            proxy.chat("x").problem(503, "queue_timeout")


def a_proxy_before_a_proxy_over_tls() -> None:
    engine = Engine()
    with started(engine):
        certificate, key = localhost()
        back = Proxy("--tls-cert", certificate, "--tls-key", key, servers=[f"e={engine.url}"], ready=False)
        with started(back):
            front = Proxy("--tls-insecure", "back", servers=[f"back=https://localhost:{back.port}"])
            with started(front):
                until("it answers", lambda: front.chat("x").status == 200)
                answer = front.chat("x", 9, stream=True)
                assert answer.status == 200 and answer.text.endswith("data: [DONE]\n\n"), answer
                big = front.chat("y" * 1_500_000, 2)
                assert big.status == 200, big.text[:200]
                front.until_quiet()


def ipv6_on_both_sides() -> None:
    engine = Engine(host="[::1]")
    with started(engine):
        proxy = Proxy(servers=[f"six={engine.url}"], listen="[::1]:0", ready=False)
        with started(proxy):
            assert proxy.url == f"http://[::1]:{proxy.port}", proxy.line
            until("it is up", lambda: ask(proxy.port, "GET", "/health", host="::1").status == 200)
            answer = ask(proxy.port, "POST", CHAT, chat("x"), host="::1")
            assert answer.status == 200, answer
            status = ask(proxy.port, "GET", "/proxy/status", headers={"host": f"[::1]:{proxy.port}"}, host="::1").json()
            assert status["servers"][0]["url"] == engine.url, status["servers"]
            done = subprocess.run(
                ["curl", "-sSg", "--max-time", "20", f"{proxy.url}/v1/models"], capture_output=True, text=True
            )
            assert "simulated" in done.stdout, done
            body = json.dumps({"id": "again", "ip": "::1", "port": engine.port}).encode()
            answer = ask(proxy.port, "POST", "/proxy/servers", body, {"host": f"[::1]:{proxy.port}"}, host="::1")
            assert answer.status in (201, 409), answer


def a_unix_socket_is_served() -> None:
    """As a port on loopback is, control endpoints included."""
    engine = Engine()
    path = pathlib.Path(tempfile.mkdtemp()) / "proxy.sock"
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"], listen=f"unix:{path}", ready=False)
        with started(proxy):
            assert proxy.url == f"unix:{path}", proxy.line
            transport = httpx.HTTPTransport(uds=str(path))
            with httpx.Client(transport=transport, base_url="http://localhost", timeout=LIMIT_S) as client:
                until("a server is up", lambda: client.get("/health").status_code == 200)
                assert client.post(CHAT, json=chat("x", 3, stream=True)).text.endswith("data: [DONE]\n\n")
                assert client.get("/proxy/status").json()["total_forwarded"] == 1
            assert proxy.stop() == 0 and not path.exists()
