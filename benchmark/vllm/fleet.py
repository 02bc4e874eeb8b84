"""vLLM, each in a region of its own, and gotoni-proxy in front: processes that are started, killed and ended here alone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sys
import time
import urllib.request
from typing import Any, Callable, Iterator

HERE = pathlib.Path(__file__).resolve().parent
sys.path += [str(HERE.parent / "real"), str(HERE.parent / "peers")]

from client import OPENER, fetch  # noqa: E402
from processes import BenchError, Program, free_ports  # noqa: E402
from world import Network  # noqa: E402

__all__ = ["BenchError", "Program"]  # of the neighbours, for the rest of this check

MODEL = "tiny"
PORT, EVENTS, REPLAYS = 8000, 5557, 5558
BLOCK = 32  # vLLM's attention on the CPU takes no smaller one
CONTEXT = 2048
STARTED_S = 600.0  # of vLLM, on a busy machine
READY_S = 30.0
ANSWER_S = 10.0
REQUEST_S = 120.0
PAUSE_S = 0.02
WITH_EVENTS = ("--kv-events", f"{EVENTS}/{REPLAYS}")
LISTENS = "0A"  # of a socket in /proc/net/tcp


@dataclasses.dataclass(frozen=True)
class Setting:
    """What every vLLM here has alike. `blocks`: its whole KV cache, each of `BLOCK` tokens."""

    python: pathlib.Path
    folder: pathlib.Path
    blocks: int
    logs: pathlib.Path


class Engine:
    """One vLLM, not ready yet. `kill` and `start` again: the same command, an empty cache."""

    def __init__(self, setting: Setting, network: Network, number: int) -> None:
        self.setting, self.network, self.number = setting, network, number
        self.name = "abcdefgh"[number]
        self.host = network.hosts[number]
        self.starts = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://{self.host}:{PORT}"

    def start(self) -> None:
        events = {
            "enable_kv_cache_events": True,
            "publisher": "zmq",
            "endpoint": f"tcp://*:{EVENTS}",
            "replay_endpoint": f"tcp://*:{REPLAYS}",
        }
        environment = {
            "HF_HUB_OFFLINE": "1",
            "VLLM_CPU_KVCACHE_SPACE": "1",
            "VLLM_CPU_OMP_THREADS_BIND": "nobind",
            "VLLM_HOST_IP": "127.0.0.1",
            "VLLM_NO_USAGE_STATS": "1",
            "VLLM_SERVER_DEV_MODE": "1",  # /reset_prefix_cache
            "OMP_NUM_THREADS": "1",
        }
        # Not bin/vllm, which asks for the version of a package that the CPU build does not have under that name.
        command = [
            *self.network.inside(self.number), "env", *(f"{name}={value}" for name, value in environment.items()),
            self.setting.python, "-m", "vllm.entrypoints.openai.api_server", "--model", self.setting.folder,
            "--served-model-name", MODEL, "--load-format", "dummy", "--dtype", "float32", "--enforce-eager",
            "--max-model-len", CONTEXT, "--max-num-batched-tokens", 512, "--max-num-seqs", 4,
            "--block-size", BLOCK, "--num-gpu-blocks-override", self.setting.blocks,
            "--enable-prefix-caching", "--enable-prompt-tokens-details", "--kv-events-config", json.dumps(events),
            "--host", "0.0.0.0", "--port", PORT,
        ]  # fmt: skip
        self.starts += 1
        log = self.setting.logs / f"vllm-{self.name}-{self.starts}.log"
        self.program = Program(f"vLLM {self.name}", command, log, at_our_death="TERM")

    def kill(self) -> None:
        """At once and with its children, as a machine that fails."""
        os.killpg(self.program.process.pid, signal.SIGKILL)  # a group of its own: see Program
        self.program.process.wait()
        self.program.stop()

    def empty(self) -> None:
        """Its cache, while nothing runs there. It is published with the next step of its scheduler: see `step`."""
        self.post("/reset_prefix_cache", b"")

    def step(self) -> None:
        """A request of ours that fills no block: vLLM publishes what happened when it has something to compute."""
        self.post("/v1/completions", json.dumps({"model": MODEL, "prompt": [1, 2, 3], "max_tokens": 1}).encode())

    def post(self, path: str, data: bytes) -> bytes:
        request = urllib.request.Request(f"{self.url}{path}", data, {"Content-Type": "application/json"}, method="POST")
        with OPENER.open(request, timeout=REQUEST_S) as answer:
            return bytes(answer.read())

    def is_healthy(self) -> bool:
        fetch(f"{self.url}/health", ANSWER_S)
        return True

    def publishes(self) -> bool:
        """Somebody listens at the port of its events, found without asking there."""
        process = self.network.regions[self.number].process.pid
        rows = [line.split() for line in pathlib.Path(f"/proc/{process}/net/tcp").read_text().splitlines()[1:]]
        return any(int(row[1].rpartition(":")[2], 16) == EVENTS and row[3] == LISTENS for row in rows)


@contextlib.contextmanager
def running(setting: Setting, rtt_ms: tuple[float, ...]) -> Iterator[list[Engine]]:
    """Engines that are up, at these distances; they start side by side, which takes minutes. Errors: BenchError."""
    network = Network(rtt_ms, setting.logs)
    started: list[Engine] = []
    try:
        for number in range(len(rtt_ms)):
            started.append(Engine(setting, network, number))
        for each in started:
            until(each.is_healthy, [engine.program for engine in started], f"vLLM {each.name}", STARTED_S)
        yield started
    finally:
        for each in reversed(started):
            each.program.stop()
        network.stop()


class Proxy:
    """gotoni-proxy in front of all engines, asked as its operators ask it."""

    def __init__(self, program: pathlib.Path, engines: list[Engine], folder: pathlib.Path, log: pathlib.Path, *options: str):
        self.port = free_ports(1)[0]
        servers = [word for each in engines for word in ("--server", f"{each.name}={each.url}")]
        command = [program, "--listen", f"127.0.0.1:{self.port}", *servers, "--tokenizer", folder, "--threads", 1,
                   "--seed", 1, *options]
        self.program = Program("gotoni-proxy", command, log)

    def get(self, path: str) -> Any:
        return json.loads(fetch(f"http://127.0.0.1:{self.port}{path}", ANSWER_S))

    def servers(self) -> dict[str, Any]:
        return {each["id"]: each for each in self.get("/proxy/status")["servers"]}

    def records(self) -> dict[str, dict[str, Any]]:
        """Its log of requests, by their ids."""
        text = fetch(f"http://127.0.0.1:{self.port}/proxy/metrics/export?format=jsonl", ANSWER_S).decode()
        return {row["request_id"]: row for row in map(json.loads, text.splitlines())}

    def follows(self) -> bool:
        """It is in contact with all, and knows what they have cached by their events alone."""
        servers = self.servers().values()
        return all(each["healthy"] and each["knowledge"] == "kv_events" and each["kv_events"]["complete"] for each in servers)


def until(holds: Callable[[], Any], programs: list[Program], what: str, seconds: float = READY_S) -> float:
    """When it held, in seconds of the monotonic clock; who cannot be reached has not happened. Errors: BenchError."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for each in programs:
            each.check()
        try:
            if holds():
                return time.monotonic()
        except (OSError, ValueError, KeyError, TypeError):
            pass
        time.sleep(PAUSE_S)
    raise BenchError(f"{what}: not within {seconds:.0f} s\n" + "\n".join(each.last_words() for each in programs))
