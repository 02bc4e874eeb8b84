"""A NATS server under test, with JetStream, on loopback; and what can be said to it without a client's library."""

from __future__ import annotations

import json
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from programs import until

# Debian keeps daemons off the path of those who are not root.
SERVER = shutil.which("nats-server") or shutil.which("nats-server", path="/usr/sbin:/sbin")


class Nats:
    """Ends with `kill`; started again by `again`, at the same port and with what it has stored."""

    def __init__(self, *options: str) -> None:
        assert SERVER, "there is no nats-server: scripts/check-deps test"
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="nats-"))
        self.options = options
        self.port = -1
        self.again()

    def again(self) -> None:
        command = [
            SERVER or "", "-js", "-sd", str(self.folder / "store"), "-a", "127.0.0.1", "-p", str(self.port),
            "--ports_file_dir", str(self.folder), "-l", str(self.folder / "log"), *self.options,
        ]  # fmt: skip
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        ports = self.folder / f"nats-server_{self.process.pid}.ports"

        def address() -> str | None:
            if self.process.poll() is not None:
                raise AssertionError(f"nats-server does not start: {(self.folder / 'log').read_text()}")
            text = ports.read_text() if ports.exists() else ""
            return json.loads(text)["nats"][0] if text.endswith("}") else None

        self.port = int(until("nats-server's port", address).rsplit(":", 1)[1])
        self.url = f"nats://127.0.0.1:{self.port}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def freeze(self, frozen: bool) -> None:
        """As a network that takes everything and delivers nothing."""
        self.process.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)

    def publish(self, subject: str, *messages: bytes) -> None:
        """NATS' own protocol: what is sent is acknowledged by the answer to a ping."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            words = b'CONNECT {"verbose":false}\r\n'
            words += b"".join(b"PUB %s %d\r\n%s\r\n" % (subject.encode(), len(each), each) for each in messages)
            connection.sendall(words + b"PING\r\n")
            heard = b""
            while b"PONG" not in heard:
                data = connection.recv(4096)
                assert data, heard
                heard += data


class Pipe:
    """A way on loopback to a server's port, which can be stalled: then it takes nothing more, from either side."""

    def __init__(self, port: int) -> None:
        self.target = port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.flows = threading.Event()
        self.flows.set()
        self.sockets: list[socket.socket] = [self.listener]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def stall(self) -> None:
        self.flows.clear()

    def flow(self) -> None:
        self.flows.set()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                server = socket.socket()
                # What it holds back is soon seen by who sends it.
                server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                server.connect(("127.0.0.1", self.target))
                self.sockets += (client, server)
                for source, target in ((client, server), (server, client)):
                    self.threads.append(threading.Thread(target=self._pump, args=(source, target)))
                    self.threads[-1].start()

    def _pump(self, source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(4096):
                self.flows.wait()
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def __enter__(self) -> Pipe:
        return self

    def __exit__(self, *_: object) -> None:
        self.flow()
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
        for thread in self.threads:
            thread.join()


@contextmanager
def nats(*options: str) -> Iterator[Nats]:
    server = Nats(*options)
    try:
        yield server
    finally:
        server.freeze(False)
        server.kill()
        shutil.rmtree(server.folder)
