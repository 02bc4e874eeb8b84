"""Starts and stops the engine: llama.cpp's server in a process of its own, on 127.0.0.1.

    with engine.running(pathlib.Path("tiny.gguf"), pathlib.Path("engine.log")) as server: ...

The settings make the server one that the simulator's engine can describe; README.md says what each is for.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from typing import Iterator

SLOTS = 64
SLOT_TOKENS = 4096
BATCH_TOKENS = 512
SIMILARITY = 0.25
STARTED_WITHIN_S = 60.0
NICENESS = -10


@dataclasses.dataclass(frozen=True)
class Engine:
    url: str
    process: int

    def cpu_seconds(self) -> float:
        """What its process has used so far, in user and kernel mode."""
        fields = pathlib.Path(f"/proc/{self.process}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def running(model: pathlib.Path, log: pathlib.Path) -> Iterator[Engine]:
    """A fresh engine, whose caches are empty; ended afterwards."""
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    with log.open("ab") as output:
        command = [sys.executable, __file__, str(model), str(port)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=output, stderr=output)
        try:
            wait_until_healthy(url, process, log)
            yield Engine(url, process.pid)
        finally:
            stop(process)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_until_healthy(url: str, process: subprocess.Popen[bytes], log: pathlib.Path) -> None:
    deadline = time.monotonic() + STARTED_WITHIN_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"The engine ended with status {process.returncode}; see {log}.")
        with contextlib.suppress(OSError), urllib.request.urlopen(f"{url}/health", timeout=1) as answer:
            if answer.status == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"The engine was not ready within {STARTED_WITHIN_S:.0f} s; see {log}.")


def take_precedence(niceness: int = NICENESS) -> None:
    """A low niceness puts this process before others that want the processor, where that is allowed."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, niceness)


def stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def serve(options: argparse.Namespace) -> None:
    """The engine's own process."""
    import xllamacpp

    take_precedence(options.niceness)
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(options.model)
    parameters.model_alias = {"tiny-random"}
    parameters.hostnames = [options.host]
    parameters.port = options.port
    parameters.n_parallel = options.slots
    parameters.n_ctx = options.context
    parameters.kv_unified = options.shared_context
    parameters.n_batch = BATCH_TOKENS
    parameters.n_ubatch = BATCH_TOKENS
    parameters.cache_ram_mib = 0
    parameters.slot_prompt_similarity = options.similarity
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.n_threads_http = 40
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.fit_params = False
    parameters.verbosity = 1
    server = xllamacpp.Server(parameters)
    print(f"listening on {server.listening_address}", flush=True)
    if options.until_signal:
        signal.pause()
    else:
        sys.stdin.buffer.read()


def main() -> None:
    parser = argparse.ArgumentParser(description="One llama.cpp server with one thread.")
    parser.add_argument("model", type=pathlib.Path, help="a GGUF file")
    parser.add_argument("port", type=int)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--slots", type=int, default=SLOTS, help="requests at a time, and prompts remembered [%(default)s]")
    parser.add_argument("--context", type=int, default=SLOTS * SLOT_TOKENS, help="tokens of all slots [%(default)s]")
    parser.add_argument("--shared-context", action="store_true", help="a slot may use the others' share of it")
    parser.add_argument("--similarity", type=float, default=SIMILARITY,
                        help="share of a prompt that a slot must hold to be taken for it [%(default)s]")
    parser.add_argument("--niceness", type=int, default=NICENESS)
    parser.add_argument("--until-signal", action="store_true",
                        help="end by a signal only; else it ends with its standard input, so it never outlives who started it")
    serve(parser.parse_args())


if __name__ == "__main__":
    main()
