"""The socket: who can reach it, whose it is, and what becomes of old ones."""

from __future__ import annotations

import os
import pathlib
import socket
import stat
import subprocess
import threading

import model_files
from service_process import Service, command, folder, run


def _mode(path: pathlib.Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


def nobody_else_can_reach_it() -> None:
    before = os.umask(0)
    try:
        with Service(model_files.wordpiece()) as service:
            assert stat.S_ISSOCK(service.path.lstat().st_mode)
            assert (_mode(service.path), _mode(service.path.parent)) == (0o600, 0o700)
            assert service.stop() == 0
            assert not service.path.exists()
    finally:
        os.umask(before)


def it_is_never_wider_for_a_moment() -> None:
    """Watched while it is made, over and over, by one who looks as often as it can."""
    from gotoni_tokenizer.sockets import Listener

    path, seen, done = folder() / "s", set(), threading.Event()

    def watch() -> None:
        while not done.is_set():
            try:
                seen.add(_mode(path))
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=watch)
    before = os.umask(0)
    watcher.start()
    try:
        for _ in range(500):
            listener = Listener(path)
            listener.remove()
            listener.socket.close()
    finally:
        done.set()
        watcher.join()
        os.umask(before)
    assert seen == {0o600}, [oct(mode) for mode in seen]


def its_default_place_is_the_users() -> None:
    runtime = folder()
    with Service(model_files.wordpiece(), environment={"XDG_RUNTIME_DIR": str(runtime)}) as service:
        assert service.path == runtime / "gotoni" / "tokenizer.sock"
        assert _mode(service.path.parent) == 0o700


def a_stale_socket_is_replaced() -> None:
    path = folder() / "s"
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as left:
        left.bind(str(path))
        left.listen()
    with Service(model_files.wordpiece(), path=path) as killed:
        killed.kill()
        assert path.exists()
    with Service(model_files.wordpiece(), path=path) as service:
        assert service.get("/health")["status"] == "ok" and service.path == path


def a_live_socket_is_left_alone() -> None:
    with Service(model_files.wordpiece()) as service:
        before = service.path.lstat()
        status, words = run("--model", str(model_files.wordpiece()), "--socket", str(service.path))
        assert status == 1 and "another process listens there" in words, words
        assert service.path.lstat().st_ino == before.st_ino
        assert service.get("/health")["status"] == "ok"


def other_files_are_left_alone() -> None:
    path = folder() / "s"
    path.write_text("mine")
    status, words = run("--model", str(model_files.wordpiece()), "--socket", str(path))
    assert status == 1 and "no socket" in words and path.read_text() == "mine", words
    status, words = run("--model", str(model_files.wordpiece()), "--socket", str(folder() / ("x" * 200)))
    assert status == 1 and "Traceback" not in words, words


def what_is_no_longer_its_own_is_not_removed() -> None:
    with Service(model_files.wordpiece()) as service:
        service.path.unlink()
        with Service(model_files.wordpiece(), path=service.path) as successor:
            assert service.stop() == 0
            assert successor.get("/health")["status"] == "ok"


def of_many_that_start_at_once_one_serves() -> None:
    path = folder() / "s"
    words = command("--model", str(model_files.wordpiece()), "--socket", str(path))
    started = [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)]
    try:
        lines = []
        for process in started:
            assert process.stdout
            lines.append(process.stdout.readline())
        assert sum(b"listening on" in line for line in lines) == 1, lines
        for process, line in zip(started, lines):
            if not line:
                assert process.wait(20) == 1
    finally:
        for process in started:
            process.kill()
            process.communicate()
