"""The proxy's control endpoints, and those of the engines that the demo needs."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

LIMIT_S = 10.0
# Straight to the address: a proxy that the environment names is not for this machine.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


class ControlError(Exception):
    """One sentence about what was asked and not done."""


def get(url: str) -> str:
    return ask(urllib.request.Request(url))


def post(url: str, document: object | None = None) -> str:
    body = b"" if document is None else json.dumps(document).encode()
    return ask(urllib.request.Request(url, data=body, method="POST"))


def ask(request: urllib.request.Request) -> str:
    try:
        with OPENER.open(request, timeout=LIMIT_S) as answer:
            return str(answer.read().decode())
    except urllib.error.HTTPError as error:
        raise ControlError(f"{request.full_url}: {error.code} {error.read(300).decode(errors='replace')}") from error
    except OSError as error:
        raise ControlError(f"{request.full_url}: {error}") from error


class Proxy:
    """The control endpoints at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url

    def status(self) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(get(f"{self.url}/proxy/status"))
        return document

    def set_policy(self, name: str) -> None:
        post(f"{self.url}/proxy/policy", {"policy": name})

    def clear_cache(self) -> None:
        post(f"{self.url}/proxy/cache/clear")

    def clear_log(self) -> None:
        post(f"{self.url}/proxy/metrics/clear")

    def log(self) -> dict[str, dict[str, Any]]:
        """What it remembers of each request, by the request's id."""
        lines = get(f"{self.url}/proxy/metrics/export?format=jsonl").splitlines()
        rows = [json.loads(line) for line in lines]
        return {row["request_id"]: row for row in rows}
