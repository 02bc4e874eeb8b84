"""The two gateways under test, as their READMEs start them but for addresses and paths."""

from __future__ import annotations

import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from typing import Any

from processes import free_ports
from programs import chat, until
from wire import Answer, ask

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
LIBRARY = ""
CHAT = "/v1/chat/completions"


class Gateway:
    """A process that serves /v1/ and /gotoni/status."""

    def __init__(self, engines: list[int], policy: str = "gorgo") -> None:
        (self.port,) = free_ports(1)
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.log = self.folder / "log"
        command = self.command(engines, policy)
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        self.until_up(len(engines))

    def command(self, engines: list[int], policy: str) -> list[str]:
        raise NotImplementedError

    def status(self) -> dict[str, Any]:
        answer = ask(self.port, "GET", "/gotoni/status")
        assert answer.status == 200, answer
        return json.loads(answer.text)

    def until_up(self, count: int) -> None:
        def holds() -> bool:
            assert self.process.poll() is None, self.log.read_text()
            try:
                return self.status()["up"] == count
            except ConnectionRefusedError:
                return False

        until(f"{count} servers up", holds)

    def until_quiet(self) -> dict[str, Any]:
        """What it has counted when no ticket is open."""
        until("no open ticket", lambda: self.status()["open_tickets"] == 0)
        return self.status()

    def chat(self, content: str, tokens: int = 4, **more: Any) -> Answer:
        return ask(self.port, "POST", CHAT, chat(content, tokens, **more))

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind:
            print(f"last words of the gateway at {self.port}: {self.log.read_text(errors='replace')[-2000:]}")
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()


class Nginx(Gateway):
    def command(self, engines: list[int], policy: str) -> list[str]:
        text = (EXAMPLES / "nginx/gotoni.conf").read_text()
        addresses = ", ".join(f'"127.0.0.1:{port}"' for port in engines)
        for old, new in (
            ("/etc/nginx/lua", str(EXAMPLES / "nginx")),
            ("/usr/local/include", str(EXAMPLES.parent / "include")),
            ("/usr/local/lib", LIBRARY),
            ('policy = "gorgo"', f'policy = "{policy}"'),
            ('"10.0.0.2:30000", "10.0.0.3:30000", "10.0.0.4:30000"', addresses),
            ("listen 127.0.0.1:8000", f"listen 127.0.0.1:{self.port}"),
        ):
            assert text.count(old) == 1, f"gotoni.conf has not one {old}"
            text = text.replace(old, new)
        (self.folder / "gotoni.conf").write_text(text)
        modules = "".join(f"load_module /usr/lib/nginx/modules/{name}_module.so;\n" for name in ("ndk_http", "ngx_http_lua"))
        temporary = "".join(f"{name}_temp_path {name};\n" for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
        # What /etc/nginx/nginx.conf is to gotoni.conf. In one process, so that what is started is what is ended.
        (self.folder / "nginx.conf").write_text(
            f"{modules}worker_processes 1;\ndaemon off;\npid nginx.pid;\nerror_log stderr warn;\n"
            f"events {{}}\nhttp {{\naccess_log off;\n{temporary}include gotoni.conf;\n}}\n"
        )
        path = os.environ["PATH"] + ":/usr/sbin"
        return ["/usr/bin/env", f"PATH={path}", "nginx", "-p", str(self.folder), "-e", "stderr", "-c", "nginx.conf"]


class ASGI(Gateway):
    def command(self, engines: list[int], policy: str) -> list[str]:
        servers = [word for port in engines for word in ("--server", f"http://127.0.0.1:{port}")]
        gateway = str(EXAMPLES / "asgi/gateway.py")
        return [sys.executable, "-B", gateway, "--listen", f"127.0.0.1:{self.port}", "--policy", policy, *servers]
