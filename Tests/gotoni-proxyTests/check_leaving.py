"""Clients that leave at the worst moment: each request ends once."""

from __future__ import annotations

import json
import os
import signal
import socket
import struct
import threading

from programs import Engine, Proxy, chat, started, until
from wire import OK, Raw, Recorder, request

CHAT = "/v1/chat/completions"


def _reset(raw: Raw) -> None:
    """Leaves without a farewell: whatever is sent to it from now on fails at once."""
    raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raw.close()


def _body(stream: bool) -> bytes:
    return request("POST", CHAT, json.dumps(chat("x", 10_000, stream=stream)).encode())


def a_client_that_leaves_as_its_answer_comes() -> None:
    """The proxy finds the answer first, and that nobody takes it only when it writes it."""
    go = threading.Event()

    def reply(_: object) -> bytes:
        go.wait(10)
        return OK

    with Recorder(reply) as server:
        proxy = Proxy("--threads", "1", "--probe-interval", "10s", servers=[f"a=http://127.0.0.1:{server.port}"])
        with started(proxy):
            for number in range(5):
                go.clear()
                raw = Raw(proxy.port, _body(stream=False))
                until("it is asked", lambda: len(server.seen) == number + 1)
                os.kill(proxy.pid, signal.SIGSTOP)
                go.set()
                until("it is answered", lambda: server.answered == number + 1)
                _reset(raw)
                os.kill(proxy.pid, signal.SIGCONT)
            proxy.until_quiet(3)


def a_client_that_leaves_as_its_server_fails() -> None:
    engine = Engine("--speed", "1", "--model", "h100")
    with started(engine):
        proxy = Proxy("--threads", "1", "--probe-interval", "10s", "--eject-after", "100", servers=[f"a={engine.url}"])
        with started(proxy):
            for _ in range(5):
                raw = Raw(proxy.port, _body(stream=True))
                raw.head()
                os.kill(proxy.pid, signal.SIGSTOP)
                engine.fault(crash=True)
                _reset(raw)
                os.kill(proxy.pid, signal.SIGCONT)
            proxy.until_quiet(3)
