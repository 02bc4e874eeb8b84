"""Clients and a server that hide nothing: every byte and the time at which it came."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

# Nothing here may take longer; what does has failed.
LIMIT_S = 20.0


@dataclasses.dataclass
class Answer:
    """An answer taken apart. Names of fields are in lower case."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes
    # The connection can be used again.
    keeps: bool = True

    @property
    def text(self) -> str:
        return self.body.decode()

    def json(self) -> Any:
        return json.loads(self.body)

    def field(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times: {self.fields}"
        return found[0] if found else None

    def all(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key == name]

    def problem(self, status: int, code: str) -> None:
        """It is an error in OpenAI's shape."""
        assert self.status == status, (status, self)
        error = self.json()["error"]
        assert set(error) == {"message", "type", "param", "code"} and error["code"] == code and error["message"], self
        assert self.field("content-type") == "application/json", self


class Broken(Exception):
    """The connection ended before the answer did; `body` is what came of it."""

    def __init__(self, what: str, body: bytes = b"") -> None:
        super().__init__(f"{what}: {body[-200:]!r}")
        self.body = body


class Raw:
    """A socket, and what came when."""

    def __init__(self, port: int, data: bytes = b"", host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.socket: socket.socket = socket.create_connection((host, port), timeout=LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_hostname="localhost")
        self.buffer = b""
        self.sent = time.monotonic()
        # Of the first byte of the latest answer's body.
        self.first = 0.0
        if data:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Whoever has answered may have closed as well: what counts is the answer."""
        self.sent = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.socket.sendall(data)

    def more(self) -> bool:
        """False: the other side has ended it."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            return False
        self.buffer += data
        return bool(data)

    def until(self, text: bytes) -> bytes:
        """All up to and with `text`."""
        while text not in self.buffer:
            if not self.more():
                raise Broken(f"closed before {text!r}", self.buffer)
        at = self.buffer.index(text) + len(text)
        found, self.buffer = self.buffer[:at], self.buffer[at:]
        return found

    def to_the_end(self) -> bytes:
        while self.more():
            pass
        found, self.buffer = self.buffer, b""
        return found

    def head(self) -> Answer:
        lines = self.until(b"\r\n\r\n").decode().split("\r\n")[:-2]
        version, status = lines[0].split(" ")[:2]
        assert version == "HTTP/1.1", lines
        fields = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        keeps = ("connection", "close") not in fields
        return Answer(int(status), fields, b"", keeps)

    def answer(self, method: str = "POST") -> Answer:
        """The next answer, complete, or Broken."""
        answer = self.head()
        length, coding = answer.field("content-length"), answer.field("transfer-encoding")
        assert length is None or coding is None, answer
        if method == "HEAD" or answer.status in (204, 304) or answer.status < 200:
            return answer
        if not self.buffer and length != "0":
            self.more()
        self.first = time.monotonic()
        if coding:
            assert coding == "chunked", answer
            answer.body = b"".join(self.chunks())
        elif length is not None:
            while len(self.buffer) < int(length):
                if not self.more():
                    raise Broken(f"{int(length)} bytes were announced", self.buffer)
            answer.body, self.buffer = self.buffer[: int(length)], self.buffer[int(length) :]
        else:
            assert not answer.keeps, f"an answer without end on a connection that is kept: {answer}"
            answer.body = self.to_the_end()
        return answer

    def chunks(self) -> Iterator[bytes]:
        body = b""
        while True:
            try:
                size = int(self.until(b"\r\n").split(b";")[0], 16)
                while len(self.buffer) < size + 2:
                    if not self.more():
                        raise Broken("closed in a chunk", self.buffer)
            except Broken as broken:
                raise Broken("closed before the last chunk", body + broken.body) from None
            piece, end, self.buffer = self.buffer[:size], self.buffer[size : size + 2], self.buffer[size + 2 :]
            assert end == b"\r\n", (piece, end)
            if size == 0:
                return
            body += piece
            yield piece

    def is_closed(self) -> bool:
        """The other side has ended it, or does so within the limit."""
        return not self.more()

    def close(self) -> None:
        self.socket.close()

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def request(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | list[tuple[str, str]] | None = None
) -> bytes:
    pairs = list(headers.items()) if isinstance(headers, dict) else headers or []
    if not any(name.lower() == "host" for name, _ in pairs):
        pairs.insert(0, ("host", "localhost"))
    framed = any(name.lower() in ("content-length", "transfer-encoding") for name, _ in pairs)
    if not framed and (body or method in ("POST", "PUT")):
        pairs.append(("content-length", str(len(body))))
    fields = "".join(f"{name}: {value}\r\n" for name, value in pairs)
    return f"{method} {path} HTTP/1.1\r\n{fields}\r\n".encode() + body


def ask(
    port: int,
    method: str,
    path: str,
    body: Any = None,
    headers: dict[str, str] | None = None,
    host: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
) -> Answer:
    """One request on a connection of its own. A body that is not bytes is sent as JSON."""
    if body is not None and not isinstance(body, bytes):
        body = json.dumps(body).encode()
        headers = {"content-type": "application/json", **(headers or {})}
    with Raw(port, request(method, path, body or b"", headers), host, tls) as raw:
        return raw.answer(method)


def events(body: bytes) -> list[str]:
    """The data of server-sent events; nothing else may be there."""
    found = []
    for event in body.decode().split("\n\n"):
        data = [line for line in event.split("\n") if line and not line.startswith("event: ")]
        assert all(line.startswith("data: ") for line in data), event
        found += [line.removeprefix("data: ") for line in data]
    return found


def tokens_of(answer: Answer) -> int:
    """Events of a chat stream that carry text, of a complete answer."""
    found = events(answer.body)
    assert found[-1] == "[DONE]" and found.count("[DONE]") == 1, found[-3:]
    choices = [json.loads(event)["choices"] for event in found[:-1]]
    return sum(1 for choice in choices if choice and choice[0]["delta"].get("content"))


@dataclasses.dataclass
class Seen:
    """A request as a server saw it."""

    raw: bytes
    method: str
    target: str
    fields: list[tuple[str, str]]
    body: bytes

    def field(self, name: str) -> str | None:
        found = [value for key, value in self.fields if key.lower() == name]
        assert len(found) <= 1, f"{name} is there {len(found)} times: {self.fields}"
        return found[0] if found else None


OK = b'HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}'
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"


class Recorder:
    """A server that keeps what it is sent, byte for byte, and answers what it is told to.

    `reply` gets the request and gives the bytes of the answer; None closes the connection without one. A reply that
    ends with `CLOSE` is followed by the connection's end. Probes are answered apart, and not kept. Bodies of more than
    `early` bytes are answered before they are read, and then nothing more is read there."""

    CLOSE = b"<the connection ends here>"

    def __init__(
        self,
        reply: Callable[[Seen], bytes | None] = lambda _: OK,
        tls: ssl.SSLContext | None = None,
        early: int | None = None,
    ) -> None:
        self.reply = reply
        self.tls = tls
        self.early = early
        self.over = threading.Event()
        self.seen: list[Seen] = []
        self.answered = 0
        self.opened = 0
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.opened += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), connection:
            connection.settimeout(LIMIT_S * 6)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
            buffer = b""
            while True:
                while b"\r\n\r\n" not in buffer:
                    data = connection.recv(1 << 20)
                    if not data:
                        return
                    buffer += data
                head, _, rest = buffer.partition(b"\r\n\r\n")
                lines = head.decode("latin-1").split("\r\n")
                method, target, _ = lines[0].split(" ")
                fields = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
                length = next((int(value) for name, value in fields if name.lower() == "content-length"), 0)
                if self.early is not None and length > self.early:
                    connection.sendall(self.reply(Seen(head, method, target, fields, b"")) or b"")
                    self.over.wait()
                    return
                while len(rest) < length:
                    rest += connection.recv(1 << 20)
                body, buffer = rest[:length], rest[length:]
                seen = Seen(head + b"\r\n\r\n" + body, method, target, fields, body)
                path = target.split("?")[0]
                if method == "GET" and path.endswith("/v1/models"):
                    connection.sendall(OK)
                elif method == "GET" and path.endswith(("/v1/loads", "/metrics", "/get_load")):
                    connection.sendall(NOT_FOUND)
                else:
                    self.seen.append(seen)
                    answer = self.reply(seen)
                    if answer is None:
                        return
                    connection.sendall(answer.removesuffix(self.CLOSE))
                    self.answered += 1
                    if answer.endswith(self.CLOSE):
                        return

    def close(self) -> None:
        self.over.set()
        # Closed alone it would go on listening for as long as the thread waits in accept.
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
