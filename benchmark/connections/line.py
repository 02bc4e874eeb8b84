"""A connection to a server of OpenAI's API, over which requests go one after the other, and what TCP says about it."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import struct
import time

from processes import BenchError

LIMIT_S = 60.0
CONTENT = re.compile(rb'"content":\s*"[^"]')
OK = b"HTTP/1.1 200 "
CHUNKED_END = b"\r\n0\r\n\r\n"
WINDOW_AT = 80  # tcpi_snd_cwnd in Linux's struct tcp_info


class Line:
    """Opened when made; `congestion`: nothing is the kernel's choice. Errors: BenchError."""

    def __init__(self, host: str, port: int, congestion: str | None = None) -> None:
        self.opened_at = time.perf_counter()
        self.authority = f"{host}:{port}"
        self.socket = socket.socket()
        self.answer = b""
        try:
            self.socket.settimeout(LIMIT_S)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if congestion:
                self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_CONGESTION, congestion.encode())
            self.socket.connect((host, port))
        except OSError as error:
            self.socket.close()
            raise BenchError(f"{self.authority}, congestion control {congestion}: {error}") from error

    def window(self) -> int:
        """Segments that may be under way before one is acknowledged."""
        info = self.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        return int(struct.unpack_from("=I", info, WINDOW_AT)[0])

    def send(self, body: bytes) -> int:
        """A chat request; gives the window that it began with. That is looked at behind the first bytes, for with these an
        idle connection loses it, and before the rest."""
        self.answer = b""
        head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: {self.authority}\r\nContent-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n")
        try:
            self.socket.sendall(head.encode(), socket.MSG_MORE)
            window = self.window()
            self.socket.sendall(body)
        except OSError as error:
            raise BenchError(f"{self.authority}: {error}") from error
        return window

    def token(self) -> float:
        """Waits for the answer's first; gives when it came, by time.perf_counter()."""
        while not CONTENT.search(self.answer):
            self.read()
        return time.perf_counter()

    def finish(self) -> None:
        """Waits for the answer's end, so that the next request may be sent."""
        while not self.answer.endswith(CHUNKED_END):
            self.read()

    def read(self) -> None:
        try:
            came = self.socket.recv(1 << 16)
        except OSError as error:
            raise BenchError(f"{self.authority}: {error}") from error
        self.answer += came
        has_no_token = self.answer.endswith(CHUNKED_END) and not CONTENT.search(self.answer)
        if not came or has_no_token or not self.answer.startswith(OK[: len(self.answer)]):
            raise BenchError(f"{self.authority} answered {self.answer[:300]!r}")

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.socket.close()


def prompt(tokens: int, salt: str, answer: int = 2) -> bytes:
    """A request with a prompt that no engine has seen. A token is 4 bytes of text, as the gateways and `gotoni-engine`
    estimate, and 5 of JSON, as Prediction.swift expects: every fourth character is a line break."""
    text = f"{salt}\n" + "yes\n" * tokens
    fields = {
        "model": "simulated",
        "messages": [{"role": "user", "content": text[: tokens * 4]}],
        "max_tokens": answer,
        "stream": True,
    }
    return json.dumps(fields).encode()
