"""The Unix socket that the service listens on: nobody but its user can reach it, at no time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pathlib
import select
import socket
import stat
from collections.abc import Iterator

from gotoni_tokenizer.errors import StartError

# Connections that may wait to be accepted.
BACKLOG = 1024


def default_path() -> pathlib.Path:
    """Raises StartError where the user has no place for sockets."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return pathlib.Path(runtime) / "gotoni" / "tokenizer.sock"
    if os.geteuid() == 0:
        return pathlib.Path("/run/gotoni/tokenizer.sock")
    raise StartError("XDG_RUNTIME_DIR is not set; say where to listen with --socket PATH")


class Listener:
    """A listening socket at `path`, and the file that was made for it."""

    def __init__(self, path: pathlib.Path) -> None:
        """Replaces a socket that nobody listens on. Raises StartError."""
        self.path = path
        try:
            _make_folder(path.parent)
            with _locked(path.parent):
                _remove_stale(path)
                self.socket = _bound(path)
                self._file = _identity(path)
        except OSError as error:
            raise StartError(f"{path}: {error.strerror or error}") from None

    def remove(self) -> None:
        """Takes the file away, if it is still this one, so that nobody connects any more."""
        with contextlib.suppress(OSError), _locked(self.path.parent):
            if _identity(self.path) == self._file:
                self.path.unlink()

    def has_waiting(self) -> bool:
        """Whether a connection waits to be accepted."""
        return self.socket.fileno() >= 0 and bool(select.select([self.socket], [], [], 0)[0])


def _make_folder(folder: pathlib.Path) -> None:
    """For its user only, if it is not there."""
    if not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)


@contextlib.contextmanager
def _locked(folder: pathlib.Path) -> Iterator[None]:
    """Of two that start at once, the second finds what the first has made."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _remove_stale(path: pathlib.Path) -> None:
    try:
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise StartError(f"{path}: there is a file of this name that is no socket")
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise StartError(f"{path}: another process listens there")
    path.unlink()


def _bound(path: pathlib.Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The file has these permissions from its first moment on; no other thread makes files yet.
    before = os.umask(0o177)
    try:
        made.bind(str(path))
        # Before the lock is given up: to another that starts, a socket that does not listen would be stale.
        made.listen(BACKLOG)
        made.setblocking(False)
    except BaseException:
        made.close()
        raise
    finally:
        os.umask(before)
    return made


def _identity(path: pathlib.Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
