"""Where a picker listens: a Unix socket, TLS."""

from __future__ import annotations

import contextlib
import pathlib
import socket
import stat
import tempfile

import world as here
from certificates import client_context, localhost
from programs import fresh_text, run

import sample
from world import Picker, shared, world


def _socket() -> pathlib.Path:
    return pathlib.Path(tempfile.mkdtemp(prefix="socket-")) / "picker.sock"


def _mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def a_unix_socket_is_its_owners_and_goes_with_it() -> None:
    path = _socket()
    with world(socket=path) as its:
        assert its.picker.line.endswith(f"listening on unix:{path}"), its.picker.line
        assert _mode(path) == 0o600, oct(_mode(path))
        assert [its.envoy.chat(fresh_text(2_000)).status for _ in range(20)] == [200] * 20
        assert len(its.picker.records()) == 20
        its.picker.until_quiet()
        assert its.picker.stop() == 0 and not path.exists()
        again = Picker("--socket-mode", "660", servers=its.engines, socket=path)
        try:
            assert _mode(path) == 0o660, oct(_mode(path))
        finally:
            again.kill()


def a_socket_is_taken_over_from_the_dead_alone() -> None:
    path = _socket()
    with world(socket=path) as its:
        command = ("--listen", f"unix:{path}", "--server", its.engines[0].url)
        status, words = run(*command, program=here.PICKER)
        assert status == 1 and "somebody listens" in words, (status, words)
        assert its.envoy.chat("hello").status == 200 and len(its.picker.records()) == 1
        its.picker.kill()
        assert path.exists()
        second = Picker(servers=its.engines, socket=path)
        try:
            statuses = [its.envoy.chat("hello").status for _ in range(10)]
            assert statuses == [200] * 10 and second.records(), statuses
            # Another's file is left to him.
            path.unlink()
            path.write_text("mine")
            assert second.stop() == 0 and path.read_text() == "mine"
        finally:
            second.kill()
        status, words = run(*command, program=here.PICKER)
        assert status == 1 and "is no socket" in words and path.read_text() == "mine", (status, words)


def sockets_that_cannot_be_are_refused() -> None:
    server = ("--server", "http://127.0.0.1:1")
    for text in ("unix:", "unix:picker.sock", f"unix:/{'a' * 107}"):
        status, words = run("--listen", text, *server, program=here.PICKER)
        assert status == 1 and "unix:/PATH" in words, (text, status, words)
    for mode in ("", "8", "1000", "rw"):
        status, words = run("--listen", "127.0.0.1:0", "--socket-mode", mode, *server, program=here.PICKER)
        assert status == 1 and "octal" in words, (mode, status, words)
    path = _socket()
    for listen, options in ((path, ("--reuse-port", "true")), (path.parent / "none" / "picker.sock", ())):
        status, words = run("--listen", f"unix:{listen}", *options, *server, program=here.PICKER)
        assert status == 1 and str(listen) in words and not listen.exists(), (status, words)


def who_speaks_something_else_is_told_and_left() -> None:
    """And nobody beside it notices."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
    settings_of_four_bytes = bytes((0, 0, 4, 4, 0, 0, 0, 0, 0)) + b"abcd"
    its = shared()
    for words in (b"GET / HTTP/1.1\r\nhost: picker\r\n\r\n", bytes(64), preface + settings_of_four_bytes):
        with socket.create_connection(("127.0.0.1", its.picker.grpc_port), timeout=10) as connection:
            connection.sendall(words)
            heard = b""
            with contextlib.suppress(ConnectionResetError):
                while part := connection.recv(4096):
                    heard += part
            # The head of a GOAWAY frame.
            assert heard[-17:-8] == bytes((0, 0, 8, 7, 0, 0, 0, 0, 0)), (words, heard)
        assert its.envoy.chat("hello").status == 200


def envoy_speaks_tls_where_it_is_told() -> None:
    certificate, key = localhost()
    options = ("--tls-cert", certificate, "--tls-key", key)
    for changes, picked in (((sample.over_tls(certificate),), 10), ((), 0)):
        with world(*options, changes=changes, tls=client_context()) as its:
            assert [its.envoy.chat(fresh_text(2_000)).status for _ in range(10)] == [200] * 10
            its.picker.until_quiet()
            # Who speaks no TLS is not heard, and goes unpicked.
            assert len(its.picker.records()) == picked, its.picker.records()
