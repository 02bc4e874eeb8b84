"""The nodes that requests go to, from a JSON file."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import urllib.parse
from typing import Any

from errors import GeoError

MAX_NODES = 1024
ADDRESSED_BY_URL = {"name", "url", "latitude", "longitude"}
ADDRESSED_BY_IP = {"name", "ip", "port", "latitude", "longitude"}


@dataclasses.dataclass(frozen=True)
class Node:
    """`url` is http or https, with no slash at its end. Degrees north and east."""

    name: str
    url: str
    latitude: float
    longitude: float

    @property
    def host(self) -> str:
        return urllib.parse.urlsplit(self.url).hostname or ""


def read_nodes(path: pathlib.Path) -> list[Node]:
    """Errors: GeoError if there is no such file, no node in it, or one that is not complete."""
    rows = read_json(path, "nodes file")
    if not isinstance(rows, list) or not rows:
        raise GeoError(f"the nodes file {path} is no JSON array with at least one node")
    if len(rows) > MAX_NODES:
        raise GeoError(f"the nodes file {path} has {len(rows)} nodes, more than {MAX_NODES}")
    nodes = [_node(row, f"node {number} of {path}") for number, row in enumerate(rows, 1)]
    names = [node.name for node in nodes]
    for name in names:
        if names.count(name) > 1:
            raise GeoError(f"the nodes file {path} has two nodes {name!r}")
    return nodes


def read_json(path: pathlib.Path, what: str) -> Any:
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise GeoError(f"the {what} {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise GeoError(f"the {what} {path} is no JSON: {error}") from error


def _node(row: Any, where: str) -> Node:
    if not isinstance(row, dict) or set(row) not in (ADDRESSED_BY_URL, ADDRESSED_BY_IP):
        raise GeoError(f"{where} must have name, latitude, longitude and either url or ip and port, and nothing else")
    name = row["name"]
    if not isinstance(name, str) or not name:
        raise GeoError(f"{where} has no name")
    return Node(name, _url(row, where), _degrees(row, "latitude", 90, where), _degrees(row, "longitude", 180, where))


def _url(row: dict[str, Any], where: str) -> str:
    if "url" not in row:
        ip, port = row["ip"], row["port"]
        if not isinstance(ip, str) or not ip or type(port) is not int or not 0 < port < 65536:
            raise GeoError(f"{where}: ip must be a host, and port a number from 1 to 65535")
        return f"http://[{ip}]:{port}" if ":" in ip else f"http://{ip}:{port}"
    url = row["url"]
    try:
        parts = urllib.parse.urlsplit(url if isinstance(url, str) else "")
        good = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:  # a port that is no number
        good = False
        parts = urllib.parse.urlsplit("")
    if not good or parts.query or parts.fragment:
        raise GeoError(f"{where}: url must be http://HOST:PORT or https://HOST:PORT, not {url!r}")
    return str(url).rstrip("/")


def _degrees(row: dict[str, Any], name: str, most: float, where: str) -> float:
    value = row[name]
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not -most <= value <= most:
        raise GeoError(f"{where}: {name} must be a number from {-most} to {most}, not {value!r}")
    return float(value)
