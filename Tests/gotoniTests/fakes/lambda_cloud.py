#!/usr/bin/env python3
"""A fake of Lambda's cloud API, version 1, on loopback: what `gotoni` launches machines with in tests.

It does what Lambda's OpenAPI document says, and what clients report where that is silent: lambda_account.py has what is
there, lambda_rules.py what may be asked, lambda_world.py what there is to let. Checks use `LambdaCloud`; it also runs
alone:

    lambda_cloud.py --port 8080 --boot-seconds 20 --ssh-key laptop=$HOME/.ssh/id_ed25519.pub

The first line it prints is its URL. It ends with SIGINT or SIGTERM."""

from __future__ import annotations

import argparse
import base64
import collections
import contextlib
import dataclasses
import fnmatch
import http.server
import json
import pathlib
import re
import signal
import socket
import socketserver
import sys
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from lambda_account import ADDRESSES, OPERATIONS, Account, Operation
from lambda_rules import Refused, invalid
from lambda_world import REGIONS

PREFIX = "/api/v1"
KEY = "secret_gotoni-test_0123456789abcdef"
# One request, with room for user_data of the greatest size in escapes.
LARGEST = 8 << 20
CONNECTIONS = 128
# A connection on which nothing comes for so long is closed.
IDLE_S = 60.0
# Of the log: the latest of so many, of so many bytes of requests; answers up to so many bytes are kept.
ENTRIES, BYTES, ANSWER = 2000, 64 << 20, 1 << 16
# Lambda's, in seconds from one request to the next.
REQUESTS_S, LAUNCHES_S = 1.0, 12.0
LAUNCH = "/instance-operations/launch"


@dataclasses.dataclass
class Asked:
    """A request, and what came of it."""

    # By the cloud's clock, when it was complete.
    time: float
    method: str
    # Without the prefix and the query.
    path: str
    query: dict[str, str]
    # As JSON; text that is none as it came; None without one.
    body: Any
    # As in Lambda's document, or empty.
    route: str = ""
    # 0: not answered so far, or never.
    status: int = 0
    answer: Any = None
    # It has changed what it was to change, whatever the answer.
    done: bool = False
    size: int = 0


@dataclasses.dataclass
class Fault:
    """What goes wrong with the next requests at a path."""

    method: str
    path: str
    times: int
    # The operation is done all the same, before it goes wrong.
    done: bool
    # None: the connection is cut instead.
    answer: tuple[int, str, bytes] | None = None
    # Not answered before this is set, and then as if nothing was wrong.
    until: threading.Event | None = None

    def fits(self, asked: Asked) -> bool:
        return self.times > 0 and self.method in ("", asked.method) and fnmatch.fnmatchcase(asked.path, self.path)


class LambdaCloud:
    """The fake, listening from when it is made to `close`; and what a check does to it."""

    def __init__(
        self,
        *,
        port: int = 0,
        key: str = KEY,
        clock: Callable[[], float] = time.monotonic,
        boot_seconds: float = 0.0,
        end_seconds: float = 0.0,
        linger_seconds: float = 0.0,
        # Of Lambda's limits: 0.1 is ten times as many requests. None is no limit.
        rate_scale: float | None = None,
        ips: Sequence[str] = ADDRESSES,
        private_network: str | None = "10.19.0.0",
        quota: int = 64,
    ) -> None:
        self.key, self.clock, self.rate_scale = key, clock, rate_scale
        # 403 for whatever is asked.
        self.is_inactive = False
        self.account = Account(clock, boot_seconds, end_seconds, linger_seconds, ips, private_network, quota)
        self.log: collections.deque[Asked] = collections.deque()
        self._logged = 0
        self._faults: list[Fault] = []
        self._slow: dict[str, float] = {}
        self._latest: dict[str, float] = {}
        self._changed = threading.Condition()
        self.over = threading.Event()
        self.server = _Server(("127.0.0.1", port), self)
        self.port: int = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self) -> None:
        self.over.set()
        self.server.shutdown()
        self.server.server_close()
        self.server.cut_all()

    def __enter__(self) -> LambdaCloud:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What a check looks at.

    def seen(self, method: str = "", path: str = "*") -> list[Asked]:
        """Of the log, by method and pattern of path (without /api/v1)."""
        with self._changed:
            return [
                asked
                for asked in self.log
                if method in ("", asked.method) and fnmatch.fnmatchcase(asked.path, path)
            ]

    def launches(self) -> list[Asked]:
        return self.seen("POST", LAUNCH)

    def until_asked(self, method: str, path: str, times: int = 1, limit: float = 20) -> None:
        """So many requests have come, answered or not."""
        end = time.monotonic() + limit
        with self._changed:
            while len(self.seen(method, path)) < times:
                assert self._changed.wait(end - time.monotonic()), f"{method} {path}: not asked within {limit} s"

    def instances(self) -> dict[str, dict[str, Any]]:
        """As the API shows them, by id."""
        with self._account() as account:
            return {machine.id: machine.shown() for machine in account.machines.values()}

    def user_data(self, id: str) -> str | None:
        with self._account() as account:
            return account.machines[id].user_data

    def admits(self, id: str, source: str, port: int, protocol: str = "tcp") -> bool:
        """Whether the rules let traffic from there reach this instance."""
        with self._account() as account:
            return account.admits(id, source, port, protocol)

    # What a check does.

    def set_capacity(self, type: str, region: str, count: int) -> None:
        with self._account() as account:
            assert type in account.types and region in REGIONS, (type, region)
            account.capacity[type, region] = count

    def set_status(self, id: str, status: str) -> None:
        """unhealthy, preempted, or another one, whatever it has been."""
        with self._account() as account:
            account.enter(id, status)

    def set_ips(self, *ips: str) -> None:
        """Of instances that have none so far."""
        with self._account() as account:
            account.ips = ips

    def set_billing_address(self, valid: bool) -> None:
        with self._account() as account:
            account.has_address = valid

    def add_key(self, name: str, public_key: str) -> str:
        """Its id."""
        with self._account() as account:
            return account.add_ssh_key("", {}, {"name": name, "public_key": public_key})["id"]

    def fail_next(
        self,
        path: str,
        status: int = 503,
        code: str = "provider/internal-unavailable",
        *,
        message: str = "Provider unavailable",
        method: str = "",
        times: int = 1,
        done: bool = False,
        body: bytes | None = None,
    ) -> None:
        """The next requests there are answered with an error; with `done` what they ask for has happened nevertheless.

        `body` is for answers that are no JSON, as those of something between Lambda and here."""
        words = {"error": {"code": code, "message": message, "suggestion": "Try again shortly"}}
        kind, text = ("text/html", body) if body is not None else ("application/json", json.dumps(words).encode())
        self._add(Fault(method, path, times, done, (status, kind, text)))

    def cut_next(self, path: str, *, method: str = "", times: int = 1, done: bool = True) -> None:
        """The next requests there are taken, carried out if `done`, and their connection ends without an answer."""
        self._add(Fault(method, path, times, done))

    def hold_next(self, path: str, *, method: str = "", times: int = 1, done: bool = True) -> threading.Event:
        """The next requests there are not answered before the event is set; carried out before it, or after."""
        event = threading.Event()
        self._add(Fault(method, path, times, done, until=event))
        return event

    def slow(self, seconds: float, path: str = "*") -> None:
        """From now on answers there come so much later, by real time. 0 ends it."""
        with self._changed:
            self._slow[path] = seconds

    def clear_faults(self) -> None:
        with self._changed:
            self._faults.clear()
            self._slow.clear()

    def _add(self, fault: Fault) -> None:
        with self._changed:
            self._faults.append(fault)

    @contextlib.contextmanager
    def _account(self) -> Iterator[Account]:
        with self._changed:
            self.account.settle()
            yield self.account

    # What a request goes through.

    def take(self, asked: Asked) -> None:
        with self._changed:
            self.log.append(asked)
            self._logged += asked.size
            while self._logged > BYTES or len(self.log) > ENTRIES:
                self._logged -= self.log.popleft().size
            self._changed.notify_all()

    def answer(self, asked: Asked, credentials: str | None) -> tuple[int, str, bytes] | None:
        """Status, type and body. None: there is none, and the connection is to be cut."""
        try:
            self._admit(asked, credentials)
            operation, id = self._route(asked)
        except Refused as refused:
            return _said(asked, refused.status, refused.shown())
        fault = self._fault(asked)
        if fault and fault.until and not fault.done:
            self._wait(fault.until)
        found = self._carry_out(asked, operation, id) if not fault or fault.until or fault.done else None
        if fault and fault.until and fault.done:
            self._wait(fault.until)
        elif fault and not fault.until:
            found = fault.answer
            asked.status = found[0] if found else 0
            asked.answer = _parsed(found[2]) if found else None
        with self._changed:
            late = [late for path, late in self._slow.items() if fnmatch.fnmatchcase(asked.path, path)]
        self.over.wait(max(late, default=0))
        return found

    def _wait(self, event: threading.Event) -> None:
        """Held requests let go when the cloud ends as well."""
        while not event.wait(0.02) and not self.over.is_set():
            pass

    def _admit(self, asked: Asked, credentials: str | None) -> None:
        if self.key not in _keys(credentials):
            words = "API key was invalid, expired, or deleted."
            raise Refused(401, "global/invalid-api-key", words, "Check your API key, then try again.")
        if self.is_inactive:
            raise Refused(403, "global/account-inactive", "Your account is inactive.", "Verify your email address.")
        if self.rate_scale is not None:
            with self._changed:
                self._limit("", REQUESTS_S * self.rate_scale, asked.time)
                if asked.path == LAUNCH:
                    self._limit(LAUNCH, LAUNCHES_S * self.rate_scale, asked.time)

    def _limit(self, what: str, seconds: float, now: float) -> None:
        """Lambda's document does not say what the body is: nobody may rely on this one."""
        if what in self._latest and now - self._latest[what] < seconds:
            raise Refused(429, "global/too-many-requests", "Too many requests.")
        self._latest[what] = now

    def _route(self, asked: Asked) -> tuple[Operation, str]:
        start, _, id = asked.path.rpartition("/")
        for path, part in ((asked.path, ""), (start + "/{id}", id)):
            if (asked.method, path) in OPERATIONS and id not in ("", "{id}"):
                asked.route = path
                operation, names = OPERATIONS[asked.method, path]
                unknown = set(asked.query) - set(names)
                if unknown:
                    raise invalid(f"{min(unknown)[:64]}: unknown query parameter")
                return operation, part
        raise Refused(404, "global/not-found", "There is nothing here.", "Check the method and the path.")

    def _fault(self, asked: Asked) -> Fault | None:
        with self._changed:
            found = next((fault for fault in self._faults if fault.fits(asked)), None)
            if found:
                found.times -= 1
            self._faults = [fault for fault in self._faults if fault.times > 0]
            return found

    def _carry_out(self, asked: Asked, operation: Operation, id: str) -> tuple[int, str, bytes]:
        try:
            if asked.method not in ("GET", "DELETE") and not isinstance(asked.body, dict):
                raise invalid("body: Input should be a valid dictionary")
            with self._account() as account:
                data = operation(account, id, asked.query, asked.body)
                account.settle()
                asked.done = True
                return _said(asked, 200, {"data": data})
        except Refused as refused:
            return _said(asked, refused.status, refused.shown())


def _said(asked: Asked, status: int, document: dict[str, Any]) -> tuple[int, str, bytes]:
    text = json.dumps(document).encode()
    # A copy: what it tells is as it was then.
    asked.answer = json.loads(text) if len(text) <= ANSWER else None
    asked.status = status
    return status, "application/json", text


def _keys(credentials: str | None) -> list[str]:
    """What can be meant as a key by an Authorization: both of Lambda's spellings of Basic are taken."""
    scheme, _, rest = (credentials or "").partition(" ")
    rest = rest.strip()
    if scheme.lower() == "bearer":
        return [rest]
    if scheme.lower() != "basic":
        return []
    with contextlib.suppress(ValueError):
        user, colon, password = base64.b64decode(rest, validate=True).decode().partition(":")
        return [rest, user] if colon and not password else [rest]
    return [rest]


class _Handler(http.server.BaseHTTPRequestHandler):
    """HTTP around LambdaCloud.answer."""

    protocol_version = "HTTP/1.1"
    server_version, sys_version = "lambda-fake", ""
    timeout = IDLE_S
    disable_nagle_algorithm = True
    # An answer is one write.
    wbufsize = 1 << 16
    server: _Server

    def log_message(self, format: str, *arguments: object) -> None:
        pass

    def _serve(self) -> None:
        try:
            raw = self._body()
        except (ValueError, EOFError) as problem:
            self.close_connection = True
            return self._reply(400, "application/json", json.dumps(invalid(str(problem)).shown()).encode())
        url = urllib.parse.urlsplit(self.path)
        path = url.path.removeprefix(PREFIX) if url.path.startswith(PREFIX + "/") else f"outside {url.path}"
        query = dict(urllib.parse.parse_qsl(url.query, keep_blank_values=True, max_num_fields=100))
        cloud = self.server.cloud
        asked = Asked(cloud.clock(), self.command, path, query, _parsed(raw), size=len(raw) + len(self.path))
        cloud.take(asked)
        found = cloud.answer(asked, self.headers.get("authorization"))
        if found is None:
            self.close_connection = True
            with contextlib.suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self._reply(*found)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _serve

    def _body(self) -> bytes:
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return b"".join(self._chunks())
        size = int(self.headers.get("content-length", "0"))
        if not 0 <= size <= LARGEST:
            raise ValueError("body: is too large")
        body = self.rfile.read(size)
        if len(body) < size:
            raise EOFError("body: is not complete")
        return body

    def _chunks(self) -> Iterator[bytes]:
        read = 0
        while True:
            size = int(self.rfile.readline(1024).partition(b";")[0], 16)
            read += size
            if size < 0 or read > LARGEST:
                raise ValueError("body: is too large")
            piece = self.rfile.read(size)
            # Lines after the last chunk are allowed, and bounded.
            ends = self.rfile.readline(1024) == b"\r\n" if size else any(self._trailers())
            if len(piece) < size or not ends:
                raise EOFError("body: is not complete")
            if not size:
                return
            yield piece

    def _trailers(self) -> Iterator[bool]:
        for _ in range(16):
            yield self.rfile.readline(1024) == b"\r\n"

    def _reply(self, status: int, kind: str, body: bytes) -> None:
        with contextlib.suppress(OSError):
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            if self.close_connection:
                self.send_header("connection", "close")
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

    def handle_expect_100(self) -> bool:
        """The client waits for it: it may not stay in the buffer."""
        super().handle_expect_100()
        self.wfile.flush()
        return True

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Of what is no HTTP at all, or a method that nothing here has."""
        self.close_connection = True
        status = 404 if code == 501 else code
        words = Refused(status, "global/not-found" if status == 404 else "global/invalid-parameters", message or "")
        self._reply(status, "application/json", json.dumps(words.shown()).encode())

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            super().finish()


def _parsed(raw: bytes) -> Any:
    try:
        return json.loads(raw) if raw else None
    except (ValueError, RecursionError):
        return raw.decode(errors="replace")


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = CONNECTIONS

    def __init__(self, address: tuple[str, int], cloud: LambdaCloud) -> None:
        self.cloud = cloud
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        """Without HTTPServer's look at the name of this machine, which may take seconds."""
        socketserver.TCPServer.server_bind(self)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            full = len(self._open) >= CONNECTIONS
            if not full:
                self._open.add(request)
        if full:
            self.shutdown_request(request)
        else:
            super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        with self._lock:
            self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that leaves is none; anything else is a fault of the fake, and is to be seen."""
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError)):
            super().handle_error(request, client_address)

    def cut_all(self) -> None:
        with self._lock:
            for connection in self._open:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def main() -> None:
    parser = argparse.ArgumentParser(description="A fake of Lambda's cloud API. It prints its URL first.")
    parser.add_argument("--port", type=int, default=0, help="0: a free one (default)")
    parser.add_argument("--key", default=KEY, help="the API key that is taken (default: %(default)s)")
    parser.add_argument("--boot-seconds", type=float, default=5.0, help="from launch to active (default: 5)")
    parser.add_argument("--end-seconds", type=float, default=2.0, help="from terminating to terminated (default: 2)")
    parser.add_argument("--linger-seconds", type=float, default=0.0, help="listed as terminated (default: 0)")
    parser.add_argument("--rate-scale", type=float, help="1: Lambda's limits; 0.1: ten times as many requests")
    parser.add_argument("--inactive", action="store_true", help="the account is inactive: 403")
    parser.add_argument("--capacity", action="append", default=[], metavar="TYPE@REGION=N")
    parser.add_argument("--ip", action="append", metavar="ADDRESS", help="of instances (default: 127.0.0.1, .2, ...)")
    parser.add_argument("--ssh-key", action="append", default=[], metavar="NAME=FILE", help="a public key")
    given = parser.parse_args()
    with LambdaCloud(
        port=given.port,
        key=given.key,
        boot_seconds=given.boot_seconds,
        end_seconds=given.end_seconds,
        linger_seconds=given.linger_seconds,
        rate_scale=given.rate_scale,
        ips=given.ip or ADDRESSES,
    ) as cloud:
        cloud.is_inactive = given.inactive
        for word in given.capacity:
            found = re.fullmatch(r"([^@=]+)@([^@=]+)=(\d{1,6})", word)
            if not found or found[1] not in cloud.account.types or found[2] not in REGIONS:
                parser.error(f"{word}: is no TYPE@REGION=N")
            cloud.set_capacity(found[1], found[2], int(found[3]))
        for word in given.ssh_key:
            name, _, file = word.partition("=")
            cloud.add_key(name, pathlib.Path(file).read_text().strip())
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: cloud.over.set())
        print(cloud.url, flush=True)
        # Not for ever: a signal only comes through to Python between two waits.
        while not cloud.over.wait(0.1):
            pass


if __name__ == "__main__":
    main()
