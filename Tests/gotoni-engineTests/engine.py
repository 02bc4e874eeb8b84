"""An engine under test, and clients that hide nothing: every byte and the time at which it came."""

import contextlib
import http.client
import json
import socket
import subprocess
import time
from collections.abc import Iterator

# Nothing here may take longer; what does has failed.
LIMIT_S = 20.0
PROGRAM = ""


class Engine:
    def __init__(self, process: subprocess.Popen, line: str):
        self.process = process
        self.line = line
        self.port = json.loads(line)["port"] if line.startswith("{") else int(line.rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT_S)

    def ask(self, path: str, body=None, method: str | None = None, headers: dict | None = None, on=None):
        """Status, headers, text. On a connection of its own, or on `on`."""
        connection = on or self.connect()
        data = body if body is None or isinstance(body, (str, bytes)) else json.dumps(body)
        connection.request(method or ("GET" if body is None else "POST"), path, data, headers or {})
        answer = connection.getresponse()
        text = answer.read().decode()
        if on is None:
            connection.close()
        return answer.status, answer.headers, text

    def get(self, path: str) -> dict:
        status, _, text = self.ask(path)
        assert status == 200, (path, status, text)
        return json.loads(text)

    def chat(self, content: str, tokens: int | None = 4, on=None, **more) -> dict:
        body = {"model": "m", "messages": [{"role": "user", "content": content}], **more}
        if tokens is not None:
            body["max_tokens"] = tokens
        status, _, text = self.ask("/v1/chat/completions", body, on=on)
        assert status == 200, (status, text)
        return json.loads(text)

    def fault(self, **order):
        status, _, text = self.ask("/fault", order)
        assert status == 200, (order, status, text)
        return json.loads(text)

    def metric(self, name: str) -> float:
        _, _, text = self.ask("/metrics")
        return metrics(text)[name]

    def until(self, name: str, wanted: float):
        """Asks until a metric has a value."""
        end = time.monotonic() + LIMIT_S
        while (value := self.metric(name)) != wanted:
            assert time.monotonic() < end, f"{name} is {value}, not {wanted}"

    def stream(self, content: str, tokens: int, path: str = "/v1/chat/completions", **more):
        """An open stream: raw socket, after the request was sent."""
        body = {"model": "m", "stream": True, "max_tokens": tokens, **more}
        if path == "/v1/chat/completions":
            body["messages"] = [{"role": "user", "content": content}]
        else:
            body["prompt"] = content
        return Raw(self.port, request("POST", path, json.dumps(body)))


class Raw:
    """A socket, and what came when."""

    def __init__(self, port: int, data: bytes = b""):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=LIMIT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pieces: list[tuple[float, bytes]] = []
        self.send(data)

    def send(self, data: bytes):
        self.sent = time.monotonic()
        self.socket.sendall(data)

    def more(self) -> bytes:
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionResetError:
            data = b""
        self.pieces.append((time.monotonic() - self.sent, data))
        return data

    def until(self, text: bytes) -> bytes:
        while text not in self.text:
            assert self.more(), f"closed before {text!r}: {self.text!r}"
        return self.text

    def to_the_end(self) -> bytes:
        while self.more():
            pass
        return self.text

    @property
    def text(self) -> bytes:
        return b"".join(data for _, data in self.pieces)

    def times(self, mark: bytes = b'"content":"') -> list[float]:
        """When each event with `mark` was there."""
        seen, times, text = 0, [], b""
        for at, data in self.pieces:
            text += data
            count = text.count(mark)
            times += [at] * (count - seen)
            seen = count
        return times

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def request(method: str, path: str, body: str = "", version: str = "1.1", headers: str = "") -> bytes:
    return (
        f"{method} {path} HTTP/{version}\r\nhost: engine\r\n{headers}content-length: {len(body.encode())}\r\n\r\n{body}"
    ).encode()


@contextlib.contextmanager
def engine(*options: str) -> Iterator[Engine]:
    process = subprocess.Popen(
        [PROGRAM, "--listen", "127.0.0.1:0", *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout and process.stderr
        line = process.stdout.readline().strip()
        assert line, process.stderr.read()
        yield Engine(process, line)
        assert process.poll() in (None, 0), f"the engine ended with {process.returncode}"
    finally:
        process.kill()
        process.wait()
        for pipe in (process.stdout, process.stderr):
            if pipe:
                pipe.close()


def run(*options: str) -> tuple[int, str]:
    """Status and words of an engine that should not start."""
    done = subprocess.run([PROGRAM, *options], capture_output=True, text=True, timeout=LIMIT_S)
    return done.returncode, done.stdout + done.stderr


def metrics(text: str) -> dict[str, float]:
    """By the name without labels; of histograms also `name{le}`. Every line must be one."""
    found = {}
    for line in text.splitlines():
        if line.startswith("#"):
            assert line.split()[1] in ("HELP", "TYPE"), line
            continue
        name, value = line.rsplit(" ", 1)
        labels = ""
        if "{" in name:
            name, labels = name.rstrip("}").split("{", 1)
            names = [label.split("=")[0] for label in labels.split(",")]
            assert names[:4] == ["model_name", "engine_type", "tp_rank", "pp_rank"], line
        if name.endswith("_bucket"):
            name += "{" + labels.rsplit('le="', 1)[1].rstrip('"') + "}"
        assert name not in found, f"{name} twice"
        found[name] = float(value)
    return found


def fresh_text(size: int, counter=iter(range(1, 1 << 30))) -> str:
    """Text that no engine has seen, of `size` bytes."""
    return (f"{next(counter):08d} " + "what is it that all of them have seen before? " * (size // 46 + 1))[:size]
