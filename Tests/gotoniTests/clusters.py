"""Two machines of a fake of Lambda's cloud, which are real to ssh."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import pathlib
import shutil
import socket
import urllib.request
from collections.abc import Iterator
from typing import Any

from home import GOTONI, Home, Said, folder
from lambda_cloud import LambdaCloud
from machines import Machines, machines

KEY = "a-key"
CHAT = "/v1/chat/completions"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class World:
    """Two machines in one region, launched."""

    def __init__(self, user: Home, cloud: LambdaCloud, hosts: Machines, by: pathlib.Path) -> None:
        self.user, self.cloud, self.hosts, self.by = user, cloud, hosts, by
        self.ssh = ["--ssh-port", hosts.port, "--ssh-user", hosts.names[0].split("@")[0]]
        self.port, self.engine_port = free_port(), free_port()
        self.setup = [
            *("cluster", "setup", "--engine", "simulated", "--port", self.port, "--engine-port", self.engine_port),
            *self.ssh,
        ]
        self.gotoni("launch", "node", "-t", "gpu_1x_a10", "-r", "us-west-1", "--count", "2", "--cluster", "gotoni", "--yes").ends(0)

    def gotoni(self, *words: object, **options: Any) -> Said:
        return self.user.gotoni(*words, by=self.by, **options)

    def cluster(self, *words: object) -> Said:
        return self.gotoni("cluster", *words, *self.ssh)

    def file(self) -> dict[str, Any]:
        found = json.loads((self.user.path / ".config/gotoni/clusters/gotoni.json").read_text())
        assert isinstance(found, dict)
        return found

    def urls(self) -> list[str]:
        return [f"http://{each['address']}:{self.port}" for each in self.file()["members"]]

    def process(self, index: int, service: str) -> int:
        return int((self.hosts.users[index].state / f"{service}.pid").read_text().split()[0])


@contextlib.contextmanager
def world(by: pathlib.Path = pathlib.Path(GOTONI)) -> Iterator[World | None]:
    with machines(of_its_own_key=True) as found:
        if found is None:
            yield None
            return
        user, hosts = found
        # Private addresses that this machine has.
        with LambdaCloud(key=KEY, boot_seconds=0.05, end_seconds=0.05, private_network="127.19.0.0") as cloud:
            user.environment |= {
                "LAMBDA_API_KEY": KEY,
                "GOTONI_LAMBDA_URL": cloud.url,
                "GOTONI_LAMBDA_INTERVAL": "0.01",
            }
            yield World(user, cloud, hosts, by)


@functools.cache
def light() -> pathlib.Path:
    """`gotoni` beside programs of two lines, which run the real ones: so that little is sent and compared."""
    place, real = folder(), pathlib.Path(GOTONI)
    try:
        os.link(real, place / "gotoni")
    except OSError:
        shutil.copy2(real, place / "gotoni")
    # Its libraries, where they are not looked for to be sent.
    for library in (real.parent.parent / "lib" / "gotoni").glob("*"):
        (place / library.name).symlink_to(library)
    for name in ("gotoni-engine", "gotoni-lb", "gotoni-proxy"):
        (place / name).write_text(f'#!/bin/sh\nexec {real.parent / name} "$@"\n')
        (place / name).chmod(0o755)
    return place / "gotoni"


def ask(url: str, text: str, tokens: int = 4, model: str = "simulated") -> dict[str, Any]:
    body = {"model": model, "max_tokens": tokens, "messages": [{"role": "user", "content": text}]}
    request = urllib.request.Request(url + CHAT, json.dumps(body).encode(), {"content-type": "application/json"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        found = json.loads(answer.read())
        assert isinstance(found, dict) and found["choices"], found
        return found


def steps(said: Said) -> dict[str, dict[str, str]]:
    """By machine and step, the state."""
    found: dict[str, dict[str, str]] = {}
    for each in said.json()["steps"]:
        found.setdefault(each["machine"], {})[each["step"]] = each["state"]
    return found
