"""Fifty requests a second of 100,000-token prompts through the proxy: does it keep up on one core, in how much memory?

Conversations grow by a turn each time, as agents' do, so prompts share long prefixes. The servers behind it are trivial.
Prints one line of JSON; the exit status says whether the bounds hold: all answered, late by less than 250 ms at p99, less
than one core, less than 1 GiB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import time

ANSWER = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1}}'
RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s" % (len(ANSWER), ANSWER)
OK = "HTTP/1.1 200 OK"
WORDS = ("the ", "router ", "sends ", "long ", "prompts ", "to ", "servers ", "that ", "know ", "them\n")


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A server that reads a request and answers."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if b"content-length: " in head:
                left = int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
                while left:
                    left -= len(await reader.read(min(left, 1 << 16)))
            writer.write(RESPONSE)
    except (asyncio.IncompleteReadError, asyncio.CancelledError, ConnectionError):
        writer.close()


def bodies(count: int, tokens: int) -> list[bytes]:
    """Eight conversations, each longer by a turn than the last time it comes."""
    chance = random.Random(1)
    texts = ["".join(chance.choices(WORDS, k=tokens))[: tokens * 4 - 4000] for _ in range(8)]
    result = []
    for index in range(count):
        text = texts[index % 8] = texts[index % 8] + f"turn {index} " * 5
        message = {"role": "user", "content": text[: tokens * 4]}
        result.append(json.dumps({"model": "m", "messages": [message, {"role": "user", "content": f"go on {index}"}]}).encode())
    return result


async def ask(port: int, body: bytes) -> str:
    """The status line of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    try:
        writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        return (await reader.readline()).decode().strip()
    finally:
        writer.close()


def cpu_seconds(pid: int) -> float:
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gotoni-proxy", required=True)
    parser.add_argument("--rate", type=float, default=50)
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=20)
    options = parser.parse_args()

    servers = [await asyncio.start_server(serve, "127.0.0.1", 0, limit=1 << 20) for _ in range(3)]
    ports = [server.sockets[0].getsockname()[1] for server in servers]
    port = free_port()
    command = [options.gotoni_proxy, "--listen", f"127.0.0.1:{port}", "--threads", "1", "--log-level", "error"]
    for name, each in zip("abc", ports):
        command += ["--server", f"{name}=http://127.0.0.1:{each}"]
    proxy = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                if await ask(port, b'{"messages":[]}') == OK:
                    break
            except OSError:
                pass
            if time.monotonic() > deadline:
                print("the proxy did not start", file=sys.stderr)
                return 2
            await asyncio.sleep(0.05)
        texts = bodies(int(options.rate * options.seconds), options.tokens)
        used, begin = cpu_seconds(proxy.pid), time.monotonic()
        taken: list[float] = []
        others: list[str] = []

        async def one(at: float, body: bytes) -> None:
            await asyncio.sleep(max(0.0, begin + at - time.monotonic()))
            status = await ask(port, body)
            taken.append(time.monotonic() - begin - at)
            if status != OK:
                others.append(status)

        await asyncio.gather(*(one(index / options.rate, body) for index, body in enumerate(texts)))
        wall = time.monotonic() - begin
        taken.sort()
        result = {
            "requests": len(texts), "others": others[:5], "rate": round(len(texts) / wall, 1), "tokens": options.tokens,
            "body_kb": len(texts[-1]) // 1024, "cores": round((cpu_seconds(proxy.pid) - used) / wall, 3),
            "peak_mb": round(resident_mb(proxy.pid), 1), "p50_ms": round(taken[len(taken) // 2] * 1e3, 1),
            "p99_ms": round(taken[int(len(taken) * 0.99)] * 1e3, 1),
        }
        print(json.dumps(result))
        holds = not others and result["cores"] < 1 and result["peak_mb"] < 1024 and result["p99_ms"] < 250
        return 0 if holds else 1
    finally:
        proxy.terminate()
        proxy.wait(timeout=40)
        for server in servers:
            server.close()


sys.exit(asyncio.run(main()))
