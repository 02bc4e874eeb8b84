"""What the figures rest on: python3 -m pytest benchmark/forms"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time
from typing import Any, AsyncIterator

import delay
import load
import loopback
import pytest
import simulated
import tables
from world import free_ports

TOLERANCE_S = 0.05


@contextlib.asynccontextmanager
async def echo_behind(round_trip_s: float) -> AsyncIterator[int]:
    """A server that sends back what it gets, behind a relay."""

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            writer.write(data)
            await writer.drain()
        writer.close()

    near, far = free_ports(2)
    server = await asyncio.start_server(echo, "127.0.0.1", far)
    relays = asyncio.create_task(delay.serve([(near, far, 1000 * round_trip_s)]))
    await asyncio.sleep(0.05)
    yield near
    relays.cancel()
    server.close()


def test_first_answer_takes_the_handshake_and_a_round_trip_later_ones_a_round_trip() -> None:
    async def check() -> list[float]:
        async with echo_behind(0.2) as port:
            start = time.monotonic()
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            took: list[float] = []
            for _ in range(2):
                writer.write(b"x")
                await reader.readexactly(1)
                took.append(time.monotonic() - start)
                start = time.monotonic()
            writer.close()
            return took

    first, second = asyncio.run(check())
    assert 0.4 - 0.001 <= first <= 0.4 + TOLERANCE_S
    assert 0.2 - 0.001 <= second <= 0.2 + TOLERANCE_S


def test_many_bytes_arrive_in_order_and_take_no_longer() -> None:
    sent = random.Random(1).randbytes(4 << 20)

    async def check() -> tuple[bytes, float]:
        async with echo_behind(0.1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            await asyncio.sleep(0.15)
            start = time.monotonic()
            writer.write(sent)
            received = await reader.readexactly(len(sent))
            writer.close()
            return received, time.monotonic() - start

    received, took = asyncio.run(check())
    assert received == sent
    assert 0.1 <= took <= 1


def test_the_end_of_a_connection_comes_last() -> None:
    async def check() -> tuple[bytes, bool]:
        async with echo_behind(0.05) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"last words")
            received = await reader.readexactly(10)
            writer.write_eof()
            return received, await asyncio.wait_for(reader.read(), 2) == b""

    assert asyncio.run(check()) == (b"last words", True)


def test_a_plan_is_its_seed() -> None:
    plan = load.conversations(2.0, 20, 1)
    assert plan == load.conversations(2.0, 20, 1) != load.conversations(2.0, 20, 2)
    assert len({each.system for each in plan}) == load.Shape().system_prompts
    asked, fresh = load.ideal_tokens(plan)
    assert 0.1 < fresh / asked < 0.5


def test_the_first_token_is_the_first_content() -> None:
    def event(delta: dict[str, Any]) -> bytes:
        return b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n"

    role, word = event({"role": "assistant", "content": ""}), event({"content": "few "})
    assert not load.has_content(role + word[:-1])
    assert load.has_content(role + word)


def test_an_answer_that_ends_early_is_an_error() -> None:
    answer = load.Answer(0, 0, ttft_ms=1.0)
    load.read(b'data: {"choices":[{"delta":{"content":"few "}}]}\n\n', load.Turn("", 1, 0), answer)
    assert answer.error


@pytest.mark.parametrize("shares", [(1 / 3, 1 / 3, 1 / 3), (0.6, 0.3, 0.1)])
def test_regions_have_their_shares(shares: tuple[float, ...]) -> None:
    found = loopback.regions(load.conversations(5, 20, 1), shares, 1)
    assert [round(found.count(region) / len(found), 1) for region in range(3)] == [round(share, 1) for share in shares]


def test_what_is_seen_from_one_place_is_a_round_trip_later() -> None:
    rows = [{"index": str(i), "server": str(i % 3 + 1), "ttft_ms": "10", "outcome": "ok"} for i in range(3)]
    found = {"failed": 0, "hit_share": 0.5, "utilization": 0.5, "busiest_share": 0.4}
    played = {name: (found, rows) for name in simulated.POLICIES}
    cells = [each for form, each in simulated.cells(played, "spread", "believed") if form == "gorgo-v1, nodes"]
    assert [each["ttft_ms"] for each in cells] == [[10, 10, 10], [47, 289, 466]]


def test_ratios_are_of_the_same_requests() -> None:
    def result(form: str, seed: int, ttft: float) -> tables.Result:
        shares = {"cached_share": 0, "forwarded_share": 0, "busy_share": 0}
        cell = {"load": "busy", "place": "one", "requests": 1, "errors": 0}
        return {**cell, **shares, "form": form, "seed": seed, "ttft_ms": [ttft]}

    results = [result("gorgo, proxy", 1, 100), result("gorgo, proxy", 2, 300)]
    results += [result("gorgo, nodes", 2, 600), result("gorgo, nodes", 1, 100)]
    proxy, nodes = tables.summary(results)
    assert proxy["ratio"] == 1 and nodes["ratio"] == 1.5 and nodes["ratio_range"] == [1, 2]


HERE = pathlib.Path(__file__).resolve().parent
BIN = pathlib.Path(os.environ.get("GOTONI_BIN", HERE.parents[1] / "build" / "bin")).resolve()
ENDED_WITHIN_S = 20.0


def forms(out: pathlib.Path, *words: str) -> list[str]:
    return [sys.executable, str(HERE / "forms.py"), "--bin", str(BIN), "--out", str(out), "--quick", *words]


def test_results_that_cannot_be_written_are_a_sentence_before_anything_starts(tmp_path: pathlib.Path) -> None:
    (tmp_path / "forms.png").mkdir()
    (tmp_path / "file").write_text("")
    for out in (tmp_path, tmp_path / "file" / "folder"):
        done = subprocess.run(forms(out), check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and done.stderr.startswith("forms: ") and len(done.stderr.splitlines()) == 1
        assert str(tmp_path) in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "forms.png"]


@pytest.mark.skipif(not (BIN / "gotoni").is_file(), reason="there is no build/bin/gotoni: make bin")
@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGHUP, signal.SIGTERM])
def test_a_signal_in_the_middle_ends_everything(by: signal.Signals, tmp_path: pathlib.Path) -> None:
    words = forms(tmp_path, "--only", "simulation")
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) as run:
        try:
            deadline = time.monotonic() + ENDED_WITHIN_S
            while not (started := simulations_of(run.pid)) and run.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
            assert started
            run.send_signal(by)  # to it alone: what it started hears of it from nobody else
            _, said = run.communicate(timeout=ENDED_WITHIN_S)
            assert run.returncode == 2 and said == ""
        finally:
            run.kill()
    deadline = time.monotonic() + ENDED_WITHIN_S
    while any(is_simulation(pid) for pid in started) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(is_simulation(pid) for pid in started)


def simulations_of(pid: int) -> list[int]:
    try:
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if is_simulation(int(child))]


def is_simulation(pid: int) -> bool:
    """A process that has ended has no command line, reaped or not."""
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().startswith(bytes(BIN / "gotoni") + b"\0")
    except OSError:
        return False
