#!/usr/bin/env python3
"""A front proxy that gives every request a place on the earth: see geo/README.md."""

from __future__ import annotations

import asyncio
import logging
import pathlib
import signal
import ssl
import sys
from typing import Sequence

sys.path.append(str(pathlib.Path(__file__).resolve().parent / "geo"))

from choosing import Cheapest, Chooser, Nearest, tokens_by  # noqa: E402
from errors import GeoError  # noqa: E402
from lookup import Lookup, read_lookup  # noqa: E402
from nodes import Node, read_nodes  # noqa: E402
from record import Log  # noqa: E402
from settings import Settings, read_settings  # noqa: E402


def main(words: Sequence[str]) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="geo_proxy: %(message)s")
    try:
        settings = read_settings(words)
        nodes, lookup = read_nodes(settings.nodes_file), read_lookup(settings.lookup_file)
        asyncio.run(run(settings, nodes, lookup, authority(settings.ca)))
    except (GeoError, OSError) as error:
        print(f"geo_proxy: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:  # before the loop takes signals
        return 128 + signal.SIGINT
    return 0


async def run(settings: Settings, nodes: list[Node], lookup: Lookup, trusted: ssl.SSLContext | None) -> None:
    try:
        from proxy import GeoProxy, serve
    except ImportError as error:
        raise GeoError(f"{error}: pip install -r benchmark/geo/requirements.txt") from None
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup goes on
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
    chooser = chooser_of(settings, nodes)
    try:
        with settings.log_file.open("a", encoding="utf-8") as file:
            await serve(GeoProxy(settings, nodes, lookup, chooser, Log(file), trusted), stop)
    finally:
        chooser.close()


def chooser_of(settings: Settings, nodes: list[Node]) -> Chooser:
    """Errors: GeoError."""
    if settings.router == "gotoni":
        return Cheapest(
            nodes,
            settings.round_trip,
            tokens_by(settings.tokenizer),
            kv_tokens=settings.kv_tokens,
            most_requests=settings.max_requests,
            silence_s=settings.node_timeout + 60,  # a ticket must not end before its request
            ms_per_token=settings.ms_per_token,
        )
    return Nearest(nodes, settings.round_trip)


def authority(path: pathlib.Path | None) -> ssl.SSLContext | None:
    """Who signs the nodes' certificates; None: those the system trusts. Errors: GeoError."""
    if path is None:
        return None
    try:
        return ssl.create_default_context(cafile=str(path))
    except OSError as error:  # ssl.SSLError is one
        raise GeoError(f"the certificates {path} cannot be used: {error}") from error


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
