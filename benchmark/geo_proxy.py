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

from errors import GeoError  # noqa: E402
from settings import Settings, read_settings  # noqa: E402


def main(words: Sequence[str]) -> int:
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="geo_proxy: %(message)s")
    try:
        settings = read_settings(words)
        asyncio.run(run(settings))
    except (GeoError, OSError) as error:
        print(f"geo_proxy: {error}", file=sys.stderr)
        return 2
    return 0


async def run(settings: Settings) -> None:
    try:
        import aiohttp  # noqa: F401
    except ImportError:
        raise GeoError("aiohttp is missing: pip install -r benchmark/geo/requirements.txt") from None
    from choosing import Cheapest, Nearest, tokens_by
    from lookup import read_lookup
    from nodes import read_nodes
    from proxy import GeoProxy, serve
    from record import Log

    stop = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    nodes = read_nodes(settings.nodes_file)
    lookup = read_lookup(settings.lookup_file)
    trusted = authority(settings.ca)
    tokens = tokens_by(settings.tokenizer)
    if settings.router == "gotoni":
        chooser = Cheapest(
            nodes,
            settings.round_trip,
            tokens,
            seed=settings.seed,
            kv_tokens=settings.kv_tokens,
            most_requests=settings.max_requests,
            silence_s=settings.node_timeout + 60,  # a ticket must not end before its request
            ms_per_token=settings.ms_per_token,
        )
    else:
        chooser = Nearest(nodes, settings.round_trip, tokens)
    try:
        with settings.log_file.open("a", encoding="utf-8") as file:
            await serve(GeoProxy(settings, nodes, lookup, chooser, Log(file), trusted), stop)
    finally:
        chooser.close()


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
