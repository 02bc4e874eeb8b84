"""What the proxy is told, by flags and by a file of the same names."""

from __future__ import annotations

import argparse
import dataclasses
import math
import pathlib
from typing import Callable, Sequence

from distance import RoundTrip
from errors import GeoError
from nodes import read_json

DESCRIPTION = """\
An OpenAI-compatible proxy for benchmarks: each request comes from where the user of its prompt lives, and goes to the
nearest node, or to the one that gotoni takes with that user's distance in the cost.

  POST  /v1/chat/completions /v1/completions
  GET   /v1/models /health /stats
  POST  /stats/reset /cache/clear

It delays nothing: a user's distance is in the log (user_rtt_ms) and in gotoni's cost, in no time that is measured.

SIGTERM, SIGHUP and Ctrl-C: new requests are answered 503, and those under way have --shutdown-timeout to end.

Needs: Python 3.11 with aiohttp (benchmark/geo/requirements.txt); for --router gotoni the libraries of this repository
(make lib). Exit status: 0 it was told to stop, 2 it cannot begin, and stderr says why."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """Times in seconds, sizes in bytes."""

    listen: str
    port: int
    nodes_file: pathlib.Path
    lookup_file: str
    log_file: pathlib.Path
    router: str
    tokenizer: str | None
    ms_per_token: float | None
    kv_tokens: int
    round_trip: RoundTrip
    ca: pathlib.Path | None
    node_timeout: float
    keep_alive: float
    max_connections: int
    max_requests: int
    max_body: int
    shutdown_timeout: float


def whole(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        value = int(text) if text.isascii() and text.isdigit() else -1
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no whole number from {least} to {most}")
        return value

    return parse


def number(least: float, most: float) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {least:g} to {most:g}")
        return value

    return parse


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="geo_proxy.py",
        description=DESCRIPTION,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )

    def add(flag: str, metavar: str, parse: Callable[[str], object], default: object, text: str) -> None:
        shown = "" if default is None else f" ({default})"
        made.add_argument(flag, metavar=metavar, type=parse, default=default, help=text + shown)

    add("--config", "FILE", pathlib.Path, None, "a JSON object with any of these flags, without dashes; flags win")
    add("--listen", "HOST", str, "127.0.0.1", "address to listen on")
    add("--port", "N", whole(0, 65535), 9000, "its port; 0 takes a free one")
    add("--nodes-file", "FILE", pathlib.Path, None,
        "required: JSON array of {name, url, latitude, longitude}, or ip and port instead of url")
    add("--lookup-file", "FILE", str, "wildchat_location_lookup.json",
        "where users live; none puts everybody at the default place")
    add("--log-file", "FILE", pathlib.Path, pathlib.Path("geo_proxy_routing.log"),
        "one JSON line for each request is appended here")
    made.add_argument("--router", choices=("nearest", "gotoni"), default="nearest", help="who chooses nodes (nearest)")
    add("--tokenizer", "PATH", str, None, "gotoni: a model's tokenizer; without it 4 bytes are a token")
    add("--ms-per-token", "MS", number(0, 1000), None, "gotoni: prefill of one token; without it the library's default")
    add("--kv-tokens", "N", whole(0, 2**40), 0, "gotoni: tokens that each node can cache; 0 is the library's default")
    add("--rtt-ms-per-1000-km", "MS", number(0, 10_000), RoundTrip.ms_per_1000_km, "round trip by distance")
    add("--rtt-base-ms", "MS", number(0, 10_000), RoundTrip.base_ms, "and what is added to it")
    add("--ca", "FILE", pathlib.Path, None, "certificates (PEM) to trust for https nodes, instead of the system's")
    add("--node-timeout", "S", number(0.001, 86_000), 120.0, "longest a node may take for a whole answer")
    add("--keep-alive", "S", number(0, 3600), 4.0,
        "how long an idle connection to a node is kept; less than nodes keep theirs, which is 5 in vLLM and SGLang")
    add("--max-connections", "N", whole(1, 65535), 1024, "most connections to one node; more requests wait for one")
    add("--max-requests", "N", whole(1, 65535), 1024, "most requests at one time; more are answered 503")
    add("--max-body", "BYTES", whole(1, 1 << 30), 64 << 20, "longest body of a request; longer ones are answered 413")
    add("--shutdown-timeout", "S", number(0, 86_400), 30.0, "how long requests under way may take when it stops")
    return made


def read_settings(words: Sequence[str]) -> Settings:
    """Errors: GeoError; SystemExit with a sentence for what argparse refuses, and after --help."""
    made = parser()
    known = made.parse_args(words)
    if known.config is not None:
        known = made.parse_args([*words_of(known.config, made), *words])
    if known.nodes_file is None:
        raise GeoError("--nodes-file is required: there are no built-in nodes")
    values = vars(known)
    round_trip = RoundTrip(values.pop("rtt_ms_per_1000_km"), values.pop("rtt_base_ms"))
    del values["config"]
    return Settings(round_trip=round_trip, **values)


def words_of(path: pathlib.Path, made: argparse.ArgumentParser) -> list[str]:
    """The file as if it had been typed. Errors: GeoError."""
    read = read_json(path, "config file")
    if not isinstance(read, dict):
        raise GeoError(f"the config file {path} is no JSON object")
    names = {name.removeprefix("--") for action in made._actions for name in action.option_strings}
    for key, value in read.items():
        if key not in names - {"config", "help", "-h"}:
            raise GeoError(f"the config file {path} has an unknown key {key!r}")
        if isinstance(value, bool) or not isinstance(value, (str, int, float)):
            raise GeoError(f"the config file {path}: {key!r} must be a string or a number")
    return [f"--{key}={value}" for key, value in read.items()]
