"""Envoy and the picker, with the sample configuration that is given to users. Only what was started here is ever ended."""

from __future__ import annotations

import contextlib
import pathlib
import ssl
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import Any

import sample

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parents[2] / each) for each in ("Tests/gotoni-proxyTests", "benchmark/peers")]

import programs  # noqa: E402
from processes import free_ports  # noqa: E402
from programs import Engine, Gateway, Program, Proxy, started, until  # noqa: E402
from wire import Answer, ask  # noqa: E402

PICKER = ""
ENVOY = ""


class Picker(Gateway):
    """Its control endpoints are at its admin listener."""

    def __init__(
        self,
        *options: str,
        servers: list[Engine],
        grpc_port: int = 0,
        socket: pathlib.Path | None = None,
        tls: ssl.SSLContext | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self.tls = tls
        defaults = [word for name, value in Proxy.DEFAULTS.items() if name not in options for word in (name, value)]
        named = [word for name, engine in zip("abc", servers) for word in ("--server", f"{name}={engine.url}")]
        address = f"unix:{socket}" if socket else f"127.0.0.1:{grpc_port}"
        listen = ["--listen", address, "--admin-listen", "127.0.0.1:0"]
        super().__init__([PICKER, *listen, *named, *defaults, *options], environment)
        self.grpc_port = self.port
        # Where Envoy finds it.
        self.place: int | str = str(socket) if socket else self.port
        self.port = int(self.next_line().rsplit(":", 1)[1])
        self.until_up(len(servers))

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return ask(self.port, method, path, body, headers, tls=self.tls)


class Envoy(Program):
    """Envoy with the sample, its ports changed, and `changes`."""

    def __init__(self, servers: list[int], picker: int | str, *changes: sample.Change) -> None:
        self.port, self.admin_port = free_ports(2)
        folder = pathlib.Path(tempfile.mkdtemp(prefix="envoy-"))
        configuration = folder / "envoy.yaml"
        configuration.write_text(sample.configuration(self.port, self.admin_port, picker, servers, *changes))
        self.log = folder / "envoy.log"
        self.was_killed = False
        command = [ENVOY, "-c", str(configuration), "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"]
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        self.pid = self.process.pid
        try:
            until("Envoy is ready", self._is_ready)
        except BaseException:
            self.kill()
            print(self.words()[-2000:])
            raise
        self.url = f"http://127.0.0.1:{self.port}"

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.words()
        with contextlib.suppress(OSError):
            return ask(self.admin_port, "GET", "/ready").status == 200
        return False

    def ask(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> Answer:
        return ask(self.port, method, path, body, headers)

    def chat(self, content: str, tokens: int = 4, headers: dict[str, str] | None = None, **more: Any) -> Answer:
        return self.ask("POST", "/v1/chat/completions", programs.chat(content, tokens, **more), headers)

    def statistic(self, name: str) -> int:
        for line in ask(self.admin_port, "GET", "/stats").text.splitlines():
            key, _, value = line.rpartition(": ")
            if key == name:
                return int(value)
        return 0


class World:
    """Three engines, the picker, Envoy."""

    def __init__(
        self,
        *options: str,
        changes: tuple[sample.Change, ...] = (),
        engine: tuple[str, ...] = (),
        environment: dict[str, str] | None = None,
        **listening: Any,
    ) -> None:
        self.engines = [Engine("--name", name, "--kv-tokens", "1000000", "--seed", "1", *engine) for name in "abc"]
        self.picker = Picker(*options, servers=self.engines, environment=environment, **listening)
        self.envoy = Envoy([engine.port for engine in self.engines], self.picker.place, *changes)

    @property
    def programs(self) -> list[Program]:
        return [self.picker, self.envoy, *self.engines]


@contextlib.contextmanager
def world(
    *options: str,
    changes: tuple[sample.Change, ...] = (),
    engine: tuple[str, ...] = (),
    environment: dict[str, str] | None = None,
    **listening: Any,
) -> Iterator[World]:
    """One for a check of its own; all picks must have been given back at its end."""
    made = World(*options, changes=changes, engine=engine, environment=environment, **listening)
    with started(*made.programs):
        yield made
        if made.picker.is_running():
            made.picker.until_quiet()


_shared: World | None = None


def shared() -> World:
    """For checks that change nothing that others would notice."""
    global _shared
    if _shared is None:
        _shared = World()
    return _shared


def end_shared() -> None:
    if _shared:
        for program in _shared.programs:
            program.kill()

