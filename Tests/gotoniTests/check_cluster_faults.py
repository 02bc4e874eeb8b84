"""What can go wrong with clusters. Each fault is said, with its exit status; and the same command again does what is left,
and only that."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import pathlib
import re
import subprocess
import threading
import urllib.request
from collections.abc import Callable, Iterator

from clusters import World, ask, light, steps, world
from containers import program
from home import Said, alive, process, until

SERVICES = ("engine", "lb")


@contextlib.contextmanager
def _begun(it: World, *words: object) -> Iterator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with process(it.by, *words, env=it.user.environment, stdin=subprocess.DEVNULL, stdout=pipe, stderr=pipe) as running:
        yield running


def _ended(running: subprocess.Popen[bytes]) -> Said:
    out, err = running.communicate(timeout=60)
    return Said(running.returncode, out.decode(), err.decode())


def _processes(it: World, *machines: int) -> list[int]:
    return [it.process(index, service) for index in machines or (0, 1) for service in SERVICES]


def _completes(it: World, *words: object) -> dict[str, dict[str, str]]:
    """`cluster setup`, and then the cluster is whole; by machine and step, what was done."""
    done = steps(it.gotoni(*it.setup, "--json", *words).ends(0))
    status = it.cluster("status", "--json").ends(0).json()
    assert {(node["lb"], node["engine"], node["healthy_peers"]) for node in status["nodes"]} == {("up", "up", 1)}, status
    for url in it.urls():
        ask(url, "hello")
    return done


def _held(states: dict[str, str]) -> bool:
    return set(states.values()) == {"held"}


def a_changed_host_key_is_refused_until_it_is_forgotten() -> None:
    with world(light()) as it:
        if it is None:
            return
        direct = [
            *("run", "--json", "--identity", it.user.path / ".config/gotoni/keys/id_ed25519", "--ssh-port", it.hosts.port),
            *(it.hosts.names[1], "true"),
        ]
        it.gotoni(*direct).ends(0)
        _completes(it)
        before = _processes(it)
        # All that is run on a machine is run by this one.
        ran = it.hosts.users[1].path / "ran"
        program(it.hosts.own_stubs[1], "timeout", f'#!/bin/sh\n: >{ran}\nexec /usr/bin/timeout "$@"\n')
        it.hosts.end(1)
        it.hosts.start(1, has_new_key=True)
        refused = (
            (it.gotoni(*it.setup).ends(7, "node-2", "another host key", "nothing was sent"), "-R 'gotoni-"),
            (it.gotoni(*direct).ends(4, "another host key", "nothing was sent"), f"-R '[127.0.0.2]:{it.hosts.port}'"),
        )
        assert not ran.exists()
        it.hosts.end(0)
        it.hosts.start(0, has_new_key=True)
        both = it.gotoni(*it.setup).ends(4, "node-1", "node-2")
        for said, name in (*refused, (both, "-R 'gotoni-")):
            for command in re.findall(r"ssh-keygen -f '[^']+' -R '[^']+'", said.out + said.err):
                assert name in command
                subprocess.run(command, shell=True, check=True, capture_output=True)
        done = _completes(it)
        assert all(map(_held, done.values())) and _processes(it) == before, done
        it.gotoni(*direct).ends(0)
        assert ran.exists()


def a_full_disk_is_found_by_looking() -> None:
    with world(light()) as it:
        if it is None:
            return
        program(it.hosts.own_stubs[1], "df", "#!/bin/sh\necho; echo / 100 90 1048575 99% /\n")
        it.gotoni(*it.setup).ends(7, "node-2: machine: Only 0 GiB are free in", "1 are wanted")
        first = _processes(it, 0)
        (it.hosts.own_stubs[1] / "df").unlink()
        done = _completes(it)
        assert _held(done["node-1"]) and _processes(it, 0) == first, done
        assert done["node-2"]["engine"] == done["node-2"]["lb"] == "done", done


def a_disk_that_fills_while_programs_are_sent_keeps_the_old_ones() -> None:
    with world(light()) as it:
        if it is None:
            return
        old = it.hosts.users[1].path / ".local/share/gotoni/bin/gotoni-engine"
        old.parent.mkdir(parents=True)
        with _small_disk(it, 1, old) as makes_room:
            it.gotoni(*it.setup).ends(7, "node-2: gotoni-engine:", "cannot be written", "No space left on device")
            assert {each.name for each in old.parent.iterdir()} - {"filler"} == {old.name}
            assert "exit 9" in old.read_text()
            first = _processes(it, 0)
            makes_room()
            done = _completes(it)
            assert _held(done["node-1"]) and _processes(it, 0) == first, done
            assert done["node-2"]["gotoni-engine"] == "done" and "exit 9" not in old.read_text()


@contextlib.contextmanager
def _small_disk(it: World, index: int, old: pathlib.Path) -> Iterator[Callable[[], object]]:
    """One for the machine's programs, full with an old one. Who is not root may not make one, and gets a gunzip that says
    so."""
    disk, text = old.parent, "#!/bin/sh\nexit 9\n"
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(disk)], capture_output=True)
    if mounted.returncode == 0:
        try:
            program(disk, old.name, text)
            with contextlib.suppress(OSError), (disk / "filler").open("wb", buffering=0) as filler:
                while filler.write(bytes(4096)):
                    pass
            yield lambda: subprocess.run(["mount", "-o", "remount,size=1m", str(disk)], check=True)
        finally:
            # Programs that run from it end later.
            subprocess.run(["umount", "-l", str(disk)], check=True)
    else:
        program(disk, old.name, text)
        stub = it.hosts.own_stubs[index]
        program(stub, "gunzip", "#!/bin/sh\nhead -c 99\necho 'gzip: stdout: No space left on device' >&2\nexit 1\n")
        yield (stub / "gunzip").unlink


def a_machine_that_dies_while_it_is_set_up_is_set_up_later() -> None:
    with world(light()) as it:
        if it is None:
            return
        fifo, reached = it.hosts.users[1].path / "fifo", it.hosts.users[1].path / "reached"
        os.mkfifo(fifo)
        program(it.hosts.own_stubs[1], "gunzip", f"#!/bin/sh\n: >{reached}\nread word <{fifo}\n")
        with _begun(it, *it.setup) as running:
            until("a program is sent", reached.exists, limit=30)
            it.hosts.end(1)
            _ended(running).ends(7, "node-2: gotoni-engine: ", "cannot be reached by ssh", "left")
        first = _processes(it, 0)
        (it.hosts.own_stubs[1] / "gunzip").unlink()
        it.gotoni(*it.setup).ends(7, "node-2: machine: ", "cannot be reached by ssh")
        it.hosts.start(1)
        done = _completes(it)
        assert _held(done["node-1"]) and _processes(it, 0) == first, done
        assert done["node-2"]["gotoni-engine"] == done["node-2"]["lb"] == "done", done


def an_engine_that_ends_leaves_its_last_words() -> None:
    with world(light()) as it:
        if it is None:
            return
        said = it.gotoni(*it.setup, "--", "--no-such-option").ends(1, "The engine ended instead of starting", "left")
        assert "node-1: engine:" in said.err and "Unknown option '--no-such-option'" in said.err, said
        # What is not given stays as it was, and -- takes it away.
        it.gotoni(*it.setup).ends(1, "Unknown option")
        done = _completes(it, "--")
        assert {states["engine"] for name, states in done.items() if "node" in name} == {"done"}, done


def an_engine_that_takes_too_long_is_waited_for_again() -> None:
    with world(light()) as it:
        if it is None:
            return
        fault = json.dumps({"status": 503, "path": "/health", "count": 1_000_000})
        slow = (*it.setup, "--engine-timeout", "1s", "--", "--fault", fault)
        it.gotoni(*slow).ends(124, "The engine does not answer after", "gotoni logs node-1 --engine")
        engines = [it.process(index, "engine") for index in range(2)]
        it.gotoni("logs", *it.ssh, "node-1", "--engine").ends(0)
        for member in it.file()["members"]:
            url = f"http://{member['address']}:{it.engine_port}/fault"
            urllib.request.urlopen(urllib.request.Request(url, b'{"reset": true}'), timeout=10).close()
        done = _completes(it, "--", "--fault", fault)
        assert [it.process(index, "engine") for index in range(2)] == engines, done
        balancers = [it.process(index, "lb") for index in range(2)]
        done = _completes(it, "--")
        assert done["node-1"]["engine"] == "done" and done["node-1"]["lb"] == "held", done
        assert not any(map(alive, engines)) and [it.process(index, "lb") for index in range(2)] == balancers


@contextlib.contextmanager
def _somebody(host: str, port: int) -> Iterator[None]:
    """Who answers whatever is asked."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, form: str, *values: object) -> None:
            pass

    with http.server.ThreadingHTTPServer((host, port), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        try:
            yield
        finally:
            server.shutdown()


def a_port_that_is_taken_is_not_mistaken_for_ours() -> None:
    with world(light()) as it:
        if it is None:
            return
        host = sorted(it.gotoni("list", "--json").ends(0).json(), key=lambda each: str(each["name"]))[1]["private_ip"]
        for port, service in ((it.engine_port, "engine"), (it.port, "lb")):
            with _somebody(host, port):
                it.gotoni(*it.setup).ends(7, f"node-2: {service}: Another program listens at {host}:{port} already")
                assert not (it.hosts.users[1].state / f"{service}.pid").exists()
        first, engine = _processes(it, 0), it.process(1, "engine")
        done = _completes(it)
        assert _held(done["node-1"]) and _processes(it, 0) == first, done
        assert it.process(1, "engine") == engine and done["node-2"]["lb"] == "done", done


def a_balancer_that_ends_leaves_its_last_words() -> None:
    with world(light()) as it:
        if it is None:
            return
        it.gotoni(*it.setup, "--strategy", "no-such").ends(1, "gotoni-lb ended instead of starting", "no policy")
        engines = [it.process(index, "engine") for index in range(2)]
        done = _completes(it, "--strategy", "gorgo")
        assert done["node-1"]["engine"] == "held" and [it.process(index, "engine") for index in range(2)] == engines


def a_machine_that_is_gone_is_named_and_the_others_are_served() -> None:
    with world(light()) as it:
        if it is None:
            return
        _completes(it)
        balancer = it.process(0, "lb")
        it.gotoni("kill", "node-2", "--yes").ends(0)
        until("it is gone", lambda: "node-2" not in it.gotoni("list").out)
        said = it.cluster("status", "--json").ends(7, "node-2")
        assert [node["lb"] for node in said.json()["nodes"]] == ["up", "?"], said
        said = it.cluster("restart-lb").ends(7, "node-2:", "no machine")
        assert it.process(0, "lb") != balancer and alive(it.process(0, "lb"))
        ask(it.urls()[0], "hello")
        said = it.gotoni(*it.setup).ends(5, "node-2 of the cluster gotoni cannot be reached any more")
        (command,) = re.findall(r"gotoni (cluster setup .*)", said.err)
        it.gotoni(*command.split(), *it.ssh).ends(0, "0 peers answer")
        it.cluster("status").ends(0)
        # There is no other to be had: a launch says so, and the cluster is as it was.
        it.cloud.set_capacity("gpu_1x_a10", "us-west-1", 0)
        it.gotoni("launch", "node-3", "-t", "gpu_1x_a10", "-r", "us-west-1", "--yes").ends(6)
        it.cluster("status").ends(0)


def two_setups_at_one_moment_do_not_hurt_each_other() -> None:
    with world(light()) as it:
        if it is None:
            return
        with _begun(it, *it.setup) as one, _begun(it, *it.setup) as other:
            said = [_ended(one).ends(0), _ended(other).ends(0)]
        waited = [each for each in said if "Another gotoni changes the cluster gotoni" in each.err]
        assert len(waited) == 1 and "done" not in waited[0].out, said
        before = _processes(it)
        assert all(map(_held, _completes(it).values())) and _processes(it) == before


def commands_without_a_cluster_say_what_makes_one() -> None:
    with world(light()) as it:
        if it is None:
            return
        commands: tuple[tuple[str, ...], ...] = (
            *((name,) for name in ("status", "upload", "restart-lb", "stop-lb", "restart-engine", "flush-cache")),
            *((name,) for name in ("start-trace", "stop-trace", "doctor")),
        )
        for command in commands:
            it.cluster(*command).ends(5, "No cluster was set up from here; gotoni cluster setup does that.")
        it.cluster("status", "--cluster", "other").ends(5, 'No cluster "other"')
        it.cluster("restart-lb", "--cluster", "Other/..").ends(2, "letters, digits and hyphens")
        it.gotoni("proxy", "deploy", "node-1", *it.ssh).ends(5, "No cluster was set up from here")
        it.cluster("setup", "--cluster", "Other/..").ends(2, "letters, digits and hyphens")
        it.cluster("setup", "--engine", "none").ends(2, "sglang")
        it.cluster("setup", "--port", "0").ends(2, "65535")
        it.cluster("setup", "--nodes", "node-9").ends(5, 'no machine "node-9"')
        it.cluster("setup", "--nodes", "node-1", "node-1").ends(2, "node-1 is named twice")

        folder = it.user.path / ".config/gotoni/clusters"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("one", "two"):
            (folder / f"{name}.json").write_text('{"schema": 99}')
        for command in (*commands, ("setup",)):
            it.cluster(*command).ends(2, "There are 2 clusters; name one with --cluster: one, two.")
        it.cluster("status", "--cluster", "one").ends(1, "one.json is no cluster of this version of gotoni")
        for name in ("one", "two"):
            (folder / f"{name}.json").unlink()
        it.gotoni("kill", "--all", "--yes").ends(0)
        until("all are gone", lambda: "no machines" in it.gotoni("list").out)
        it.gotoni(*it.setup).ends(5, "gotoni launch --cluster gotoni rents some")
        del it.user.environment["LAMBDA_API_KEY"]
        it.gotoni(*it.setup).ends(2, "--nodes USER@HOST")
        assert not list(folder.glob("*.json"))
