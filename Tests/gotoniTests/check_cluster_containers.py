"""SGLang and vLLM as cluster setup starts them in containers: the words to the letter, and what can go wrong."""

from __future__ import annotations

import contextlib
import json
import pathlib
import threading
from collections.abc import Iterator
from typing import Any

from clusters import World, ask, light, steps, world
from containers import DRIVER, Docker, containers, driver
from home import Said, alive

SGLANG = "lmsysorg/sglang:v0.5.19-cu129"
VLLM = "vllm/vllm-openai:v0.32.0"
MODEL = "Qwen/Qwen3-8B"
TOKEN = "hf_abcdefghijklmnopqrstuvwxyz0123456789"


@contextlib.contextmanager
def _gpus() -> Iterator[tuple[World, list[Docker]] | None]:
    with world(light()) as it:
        if it is None:
            yield None
            return
        with containers(it.hosts) as dockers:
            yield it, dockers


def _setup(it: World, *words: object) -> Said:
    return it.gotoni(
        *("cluster", "setup", "--json", "--port", it.port, "--engine-port", it.engine_port, *it.ssh), *words
    )


def _run(docker: Docker, home: pathlib.Path) -> tuple[str, list[str]]:
    """The image and the command of the last container; all else is as it is to be."""
    words = docker.calls("run")[-1]
    label = words[words.index("--label") + 1]
    assert words[:22] == [
        *("run", "-d", "--name", "gotoni-engine", "--label", label, "--restart", "unless-stopped"),
        *("--gpus", "all", "--network", "host", "--ipc", "host", "--shm-size", "32g"),
        *("--ulimit", "memlock=-1", "--ulimit", "stack=67108864"),
        *("-v", f"{home}/.cache/huggingface:/root/.cache/huggingface"),
    ], words
    image, *command = words[22:]
    assert label == "gotoni=" + " ".join([image, *command])
    return image, command


def _events(**more: Any) -> dict[str, Any]:
    return {
        "publisher": "zmq",
        "endpoint": "tcp://*:5557",
        "replay_endpoint": "tcp://*:5558",
        "topic": "kv",
        **more,
    }


class _Watch:
    """All command lines of this machine that have TOKEN in them, while it runs."""

    def __init__(self) -> None:
        self.found: set[bytes] = set()
        # Those that were looked at: that looking finds anything.
        self.ssh = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def _look(self) -> None:
        while not self._over.wait(0.02):
            for file in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
                with contextlib.suppress(OSError):
                    line = file.read_bytes()
                    self.ssh += line.startswith(b"ssh\0")
                    if TOKEN.encode() in line:
                        self.found.add(line)

    def __enter__(self) -> _Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


def sglang_runs_in_a_container_with_these_words() -> None:
    with _gpus() as found:
        if found is None:
            return
        it, dockers = found
        it.user.environment["HF_TOKEN"] = TOKEN
        # One daemon does not run, the other is only for root.
        dockers[0].set("down")
        dockers[1].set("for-root")
        with _Watch() as watch:
            done = steps(_setup(it, "--tp", 1).ends(0))
        for name in ("node-1", "node-2"):
            assert done[name]["driver"] == "held" and done[name]["image"] == done[name]["engine"] == "done", done
        assert done["node-1"]["docker"] == "done" and done["node-2"]["docker"] == "held", done
        for docker, user, member in zip(dockers, it.hosts.users, it.file()["members"]):
            image, command = _run(docker, user.path)
            host = member["address"]
            assert image == SGLANG and command[:-1] == [
                *("python3", "-m", "sglang.launch_server", "--model-path", MODEL, "--host", host),
                *("--port", str(it.engine_port), "--tp-size", "1", "--enable-metrics", "--enable-cache-report"),
                "--kv-events-config",
            ]
            assert json.loads(command[-1]) == _events()
            token = user.path / ".cache/huggingface/token"
            assert token.read_text() == TOKEN and token.stat().st_mode & 0o777 == 0o600
            assert TOKEN not in (docker.path / "log").read_text() and docker.calls("pull") == [["pull", "--quiet", SGLANG]]
        assert "sudo systemctl start docker" in (dockers[0].path / "sudo").read_text()
        assert watch.ssh and not watch.found
        for url in it.urls():
            assert ask(url, "hello", model=MODEL)["model"] == MODEL

        before = [docker.pid() for docker in dockers]
        done = steps(_setup(it).ends(0))
        assert {state for node in done.values() for state in node.values()} == {"held"}, done
        assert [docker.pid() for docker in dockers] == before and [len(each.calls("run")) for each in dockers] == [1, 1]
        it.gotoni("logs", *it.ssh, "node-1", "--engine").ends(0)

        # Another model is another container; the image is there.
        done = steps(_setup(it, "--model", "Qwen/Qwen3-8B", "--", "--mem-fraction-static", "0.85").ends(0))
        assert done["node-1"]["engine"] == "done" and done["node-1"]["image"] == "held", done
        assert not any(map(alive, before)) and len(dockers[0].calls("pull")) == 1
        _, command = _run(dockers[0], it.hosts.users[0].path)
        assert command[3:5] == ["--model-path", "Qwen/Qwen3-8B"] and command[-2:] == ["--mem-fraction-static", "0.85"]
        it.cluster("restart-engine").ends(0)
        assert [len(docker.calls("run")) for docker in dockers] == [3, 3]


def vllm_runs_in_a_container_with_these_words() -> None:
    with _gpus() as found:
        if found is None:
            return
        it, dockers = found
        _setup(it, "--engine", "vllm", "--tp", 2).ends(
            1, f"The driver is {DRIVER}, and the engine's image wants 580 or newer", "--image"
        )
        driver(it.hosts.stubs, "580.65.06")
        _setup(it).ends(1, "There are 1 GPUs, and the engine wants 2")
        driver(it.hosts.stubs, "580.65.06", gpus=2)
        assert not any(docker.calls("run") or docker.calls("pull") for docker in dockers)
        _setup(it).ends(0)
        host = it.file()["members"][0]["address"]
        image, command = _run(dockers[0], it.hosts.users[0].path)
        assert image == VLLM and command[:-1] == [
            *("--model", MODEL, "--host", host, "--port", str(it.engine_port), "--tensor-parallel-size", "2"),
            *("--enable-prompt-tokens-details", "--kv-events-config"),
        ]
        assert json.loads(command[-1]) == _events(enable_kv_cache_events=True)
        ask(it.urls()[0], "hello", model=MODEL)

        # An engine of another kind replaces it, and is replaced.
        before = [docker.pid() for docker in dockers]
        _setup(it, "--engine", "simulated").ends(0)
        assert not any(map(alive, before)) and not (dockers[0].path / "container").exists()
        ask(it.urls()[0], "hello")
        process = it.process(0, "engine")
        _setup(it, "--engine", "vllm", "--tp", 2).ends(0)
        assert not alive(process)
        ask(it.urls()[0], "hello", model=MODEL)


def a_container_that_crashes_leaves_its_last_words() -> None:
    with _gpus() as found:
        if found is None:
            return
        it, dockers = found
        words = "".join(f"line {number}\n" for number in range(20)) + "torch.OutOfMemoryError: CUDA out of memory.\n"
        dockers[1].set("crash", words)
        said = _setup(it).ends(7, "node-2: engine: The engine ended instead of starting", "CUDA out of memory", "line 12")
        assert "line 2\n" not in said.err and steps(said)["node-2"]["lb"] == "left"
        engine = dockers[0].pid()
        (dockers[1].path / "crash").unlink()
        done = steps(_setup(it).ends(0))
        assert set(done["node-1"].values()) == {"held"} and dockers[0].pid() == engine, done
        assert done["node-2"]["engine"] == done["node-2"]["lb"] == "done", done
        ask(it.urls()[1], "hello", model=MODEL)


def docker_that_cannot_be_had_is_said() -> None:
    with _gpus() as found:
        if found is None:
            return
        it, dockers = found
        sudo = it.hosts.own_stubs[1] / "sudo"
        sudo.write_text("#!/bin/sh\necho 'sudo: a password is required' >&2\nexit 1\n")
        sudo.chmod(0o755)
        dockers[1].set("down")
        _setup(it).ends(7, "node-2: docker: Docker cannot be started without a password")
        (it.hosts.stubs / "nvidia-smi").write_text("#!/bin/sh\nexit 9\n")
        _setup(it).ends(1, "nvidia-smi fails; a restart of the machine may help")
        driver(it.hosts.stubs, DRIVER)
        sudo.unlink()
        done = steps(_setup(it).ends(0))
        assert set(done["node-1"].values()) == {"held"} and done["node-2"]["docker"] == "done", done
