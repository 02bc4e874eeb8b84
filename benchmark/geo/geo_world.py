"""For the tests: engines, nodes that show what they get, and the proxy in front of them."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import http.server
import json
import os
import pathlib
import re
import socket
import ssl
import sys
import threading
import time
import urllib.request
import uuid
from typing import Any, Callable, Iterator

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

from prompts import CHAT  # noqa: E402
from processes import Program, free_ports  # noqa: E402

BUILD = HERE.parent.parent / "build"
ENGINE = pathlib.Path(os.environ.get("GOTONI_ENGINE", BUILD / "bin" / "gotoni-engine"))
LIBRARY = pathlib.Path(os.environ.get("GOTONI_LIBRARY", BUILD / "lib" / "libgotoni.so.0"))
TOKENIZER_LIBRARY = pathlib.Path(
    os.environ.get("GOTONI_TOKENIZER_LIBRARY", LIBRARY.with_name("libgotoni-tokenizer.so.0"))
)
# The proxies that are started below load the same.
for variable, library in (("GOTONI_LIBRARY", LIBRARY), ("GOTONI_TOKENIZER_LIBRARY", TOKENIZER_LIBRARY)):
    if library.exists():
        os.environ[variable] = str(library.resolve())

POINTS = {"gpu-2": (31.0461, 34.8516), "gotoni-germany": (50.1109, 8.6821), "west_coast": (37.7749, -122.4194)}
DEADLINE_S = 10.0

Nodes = list[dict[str, Any]]
Headers = dict[str, str]


def wait_until(holds: Callable[[], Any], what: str) -> Any:
    """What `holds` gives as soon as it is something."""
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if found := holds():
                return found
        time.sleep(0.01)
    raise AssertionError(f"{what}: not within {DEADLINE_S:g} s")


def get(port: int, path: str) -> Any:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=DEADLINE_S) as answer:
        return json.load(answer)


def post(port: int, path: str, body: Any = None, headers: Headers | None = None) -> tuple[int, Headers, bytes]:
    """One request on a connection of its own: status, headers in lower case, body."""
    data = body if isinstance(body, bytes) else json.dumps(body or {}).encode()
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=DEADLINE_S)
    with contextlib.closing(connection):
        connection.request("POST", path, data, headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def chat(*texts: str, **more: Any) -> dict[str, Any]:
    """A body whose last text is the user's, behind a system prompt if there are two."""
    roles = ["system", "user"][-len(texts) :]
    messages = [{"role": role, "content": text} for role, text in zip(roles, texts)]
    return {"model": "simulated", "messages": messages, "max_tokens": 2, **more}


class OpenStream:
    """A streaming request on a socket of its own, read byte by byte as it comes."""

    def __init__(self, port: int, body: dict[str, Any]) -> None:
        data = json.dumps(body).encode()
        self.id = uuid.uuid4().hex
        self.received = b""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=DEADLINE_S)
        head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-Request-ID: {self.id}\r\nContent-Length: {len(data)}\r\n\r\n"
        self.socket.sendall(head.encode() + data)

    def read_until(self, text: bytes) -> None:
        while text not in self.received:
            piece = self.socket.recv(65536)
            assert piece, f"the connection ended after {self.received!r}"
            self.received += piece

    def read_to_end(self) -> bytes:
        """Until the other side closes or breaks the connection."""
        with contextlib.suppress(ConnectionResetError):
            while piece := self.socket.recv(65536):
                self.received += piece
        return self.received

    def close(self) -> None:
        self.socket.close()


class ShowingNode(http.server.ThreadingHTTPServer):
    """A node that keeps the requests it got, and answers as its `answer` says."""

    daemon_threads = True

    def __init__(self, trusted: ssl.SSLContext | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.scheme = "http" if trusted is None else "https"
        if trusted is not None:
            self.socket = trusted.wrap_socket(self.socket, server_side=True)
        self.seen: list[tuple[str, list[tuple[str, str]], bytes]] = []
        self.answer: Callable[[_Handler], object]
        self.go_on = threading.Event()
        self.begin_anew()
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Silent about clients that leave, which is what some tests are about."""
        if not isinstance(sys.exception(), (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)

    def begin_anew(self) -> None:
        """As if nothing had been asked."""
        self.seen.clear()
        self.go_on.clear()
        self.answer = lambda handler: handler.say(200, b'{"from": "node"}')

    def stop(self) -> None:
        self.go_on.set()
        self.shutdown()
        self.server_close()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ShowingNode  # pyright: ignore[reportIncompatibleVariableOverride] - no other makes it

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.seen.append((self.path, self.headers.items(), body))
        self.server.answer(self)

    def say(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def begin(self) -> None:
        """A stream."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()

    def chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def log_message(self, format: str, *args: Any) -> None: ...


def in_two_parts(handler: _Handler) -> None:
    """The second one when the test says so."""
    handler.begin()
    handler.chunk(b"data: first\n\n")
    handler.server.go_on.wait(DEADLINE_S)
    handler.chunk(b"data: second\n\n")
    handler.chunk(b"")


@contextlib.contextmanager
def showing_node(trusted: ssl.SSLContext | None = None) -> Iterator[ShowingNode]:
    node = ShowingNode(trusted)
    try:
        yield node
    finally:
        node.stop()


def nodes_at(urls: dict[str, str]) -> Nodes:
    """By their names in POINTS."""
    return [
        {"name": name, "url": url, "latitude": POINTS[name][0], "longitude": POINTS[name][1]}
        for name, url in urls.items()
    ]


@dataclasses.dataclass(frozen=True)
class Proxy:
    port: int
    program: Program
    log_file: pathlib.Path

    def lines(self) -> list[dict[str, Any]]:
        """The log, as far as it is written."""
        return [json.loads(line) for line in self.log_file.read_text().split("\n")[:-1]]

    def line(self, request_id: str) -> dict[str, Any]:
        """The log's only line about this request, as soon as it is there."""
        wait_until(lambda: self._about(request_id), f"a line about {request_id} in the log")
        (line,) = self._about(request_id)
        return line

    def _about(self, request_id: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["request_id"] == request_id]


@contextlib.contextmanager
def proxy(
    folder: pathlib.Path, nodes: Nodes, *options: object, places: dict[str, Any] | None = None
) -> Iterator[Proxy]:
    """`places` by key, as lookup files have them."""
    nodes_file, lookup_file, log_file = folder / "nodes.json", folder / "lookup.json", folder / "log.jsonl"
    nodes_file.write_text(json.dumps(nodes))
    lookup_file.write_text(json.dumps(places or {}))
    output = folder / "proxy.log"
    command = [sys.executable, HERE.parent / "geo_proxy.py", "--port", 0, "--nodes-file", nodes_file, "--lookup-file",
               lookup_file, "--log-file", log_file, *options]  # fmt: skip
    program = Program("geo proxy", command, output)

    def port() -> int:
        program.check()
        found = re.search(r"http://127.0.0.1:(\d+),", output.read_text())
        return int(found[1]) if found else 0

    try:
        yield Proxy(wait_until(port, "the proxy listens"), program, log_file)
    finally:
        program.stop()


@dataclasses.dataclass(frozen=True)
class Engines:
    ports: dict[str, int]

    @property
    def nodes(self) -> Nodes:
        return nodes_at({name: f"http://127.0.0.1:{port}" for name, port in self.ports.items()})

    def running(self, name: str) -> float:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports[name]}/metrics", timeout=5) as answer:
            found = re.search(r"^sglang:num_running_reqs{[^}]*} (\S+)$", answer.read().decode(), re.MULTILINE)
        assert found is not None
        return float(found[1])


@contextlib.contextmanager
def engines(folder: pathlib.Path) -> Iterator[Engines]:
    """One at each point, with the timing of an A100."""
    started: list[Program] = []
    ports = dict(zip(POINTS, free_ports(len(POINTS))))
    try:
        for name, port in ports.items():
            command = [ENGINE, "--listen", f"127.0.0.1:{port}", "--name", name, "--model", "a100", "--quiet"]
            started.append(Program(f"engine {name}", command, folder / f"{name}.log"))
        for program, port in zip(started, ports.values()):
            wait_until(lambda: program.check() or get(port, "/v1/models"), f"{program.name} answers")
        yield Engines(ports)
    finally:
        for program in started:
            program.stop()
