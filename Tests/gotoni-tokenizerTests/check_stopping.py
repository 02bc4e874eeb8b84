"""The end: what is under way is answered, nothing new is taken, and it does not take long."""

from __future__ import annotations

import json
import signal
import threading
import time

import model_files
from service_process import Client, Service, until

WORD = 1 << 20


def a_signal_under_load_loses_nothing() -> None:
    """Clients with a connection for each request: an answer, or nobody there; never half of something."""
    with Service(model_files.deepseek()) as service:
        body = json.dumps({"prompt": "What is it that all of them have seen before? " * 200}).encode()
        answered, refused, lost = [], [], []

        def ask(service: Service = service, body: bytes = body) -> None:
            while True:
                client = Client(service.path)
                try:
                    client.connect()
                except (FileNotFoundError, ConnectionRefusedError):
                    refused.append(1)
                    return
                try:
                    answer = client.ask("POST", "/tokenize", body)
                    assert answer.status == 200 and answer.json()["count"] > 1000
                    answered.append(1)
                except Exception as error:
                    lost.append(repr(error))
                    return
                finally:
                    client.close()

        clients = [threading.Thread(target=ask) for _ in range(16)]
        for client in clients:
            client.start()
        until("it is busy", lambda: len(answered) > 50)
        service.signal(signal.SIGTERM)
        for client in clients:
            client.join(20)
        assert service.wait() == 0, service.words()
        assert not lost and len(refused) == 16, (lost, refused)
        assert not service.path.exists()
        assert f"{len(answered)} requests" in service.words(), service.words()


def connections_that_stay_open_are_told_to_go() -> None:
    with Service(model_files.deepseek()) as service, service.client() as idle, service.client() as busy:
        assert idle.ask("GET", "/health").status == 200
        body = json.dumps({"prompt": "a" * (WORD - 1000), "return_tokens": False}).encode()
        busy.request("POST", "/tokenize", body)
        until("it is under way", lambda: service.get("/health")["under_way"] == 1)
        service.signal(signal.SIGINT)
        until("its socket is gone", lambda: not service.path.exists())
        answer = busy.getresponse()
        assert answer.status == 200 and answer.getheader("connection") == "close"
        assert json.loads(answer.read())["count"] > 100_000
        assert service.wait() == 0
        assert idle.sock is None or idle.sock.recv(1) == b""


def the_end_does_not_wait_for_ever() -> None:
    """A text that takes longer than it waits, and a client that sends half a request."""
    options = ("--max-text", str(64 << 20), "--threads", "1")
    with (
        Service(model_files.deepseek(), options=options) as service,
        service.client() as slow,
        service.client() as half,
    ):
        half.connect()
        half.sock.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        until("half a request is there", lambda: service.get("/health")["under_way"] == 1)
        slow.request("POST", "/tokenize", json.dumps({"prompt": "a" * 10_000_000}).encode())
        until("both are", lambda: service.get("/health")["under_way"] == 2)
        began = time.monotonic()
        service.signal(signal.SIGTERM)
        assert service.wait() == 0, service.words()
        took = time.monotonic() - began
        assert 4.5 < took < 8, took
        assert not service.path.exists()
