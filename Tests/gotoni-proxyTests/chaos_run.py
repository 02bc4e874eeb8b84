"""The chaos run: what is done to engines, servers and the proxy, and whether the accounts are even at the end."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import pathlib
import random
import re
import signal
import time
from typing import Any

import chaos_report
from chaos_clients import Clients, Explains, Questions
from chaos_judge import ended_badly, left_over, uneven

# Resident memory of the last proxy, from its first thousand requests to the end: its trie and its log are bounded below.
GROWTH_MB = 32.0
QUIET_S = 20.0
START_S = 20.0

PLANTS = (
    # The proxy cuts off what is under way when it is replaced.
    "a short drain",
    # An engine breaks its answers off, and the checks are not told.
    "a silent cut",
    # A request asks for fewer tokens than the checks expect.
    "a token less",
    # The old proxy is killed.
    "a killed proxy",
)
PROXY_OPTIONS = {
    "--reuse-port": "true",
    "--admin-listen": "127.0.0.1:0",
    "--threads": "2",
    "--max-concurrent": "64",
    "--queue-timeout": "5s",
    "--first-byte-timeout": "1s",
    "--idle-timeout": "3s",
    "--drain-timeout": "30s",
    "--connect-timeout": "1s",
    "--probe-interval": "100ms",
    "--probe-timeout": "500ms",
    "--metrics-interval": "200ms",
    "--slow-start": "500ms",
    "--memory-budget": str(16 << 20),
    "--log-level": "info",
}


class ChaosError(Exception):
    """Why the run cannot go on."""


async def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """A control request; gives the JSON of the answer, or its text."""
    reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), START_S)
    try:
        data = b"" if body is None else json.dumps(body).encode()
        head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {len(data)}\r\n\r\n"
        writer.write(head.encode() + data)
        answer = await asyncio.wait_for(_answer(reader), START_S)
    finally:
        writer.close()
    status, text = answer
    if status >= 400 and path != "/health":
        raise ChaosError(f"{method} {path}: {status} {text}")
    return json.loads(text) if text.startswith(("{", "[")) else text


async def _answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    length = re.search(r"content-length: (\d+)", head, re.I)
    body = await reader.readexactly(int(length[1])) if length else b""
    return int(head.split(" ")[1]), body.decode()


async def until(what: str, holds: Any, limit: float) -> None:
    end = time.monotonic() + limit
    while not await holds():
        if time.monotonic() > end:
            raise ChaosError(f"{what}: not within {limit:.0f} s")
        await asyncio.sleep(0.02)


class Program:
    """A process that was started here."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: pathlib.Path) -> None:
        self.name = name
        self.process = process
        self.log = log

    @staticmethod
    async def launch(name: str, command: list[str], out: pathlib.Path) -> tuple[asyncio.subprocess.Process, pathlib.Path]:
        log = out / f"{name}.log"
        environment = {key: value for key, value in os.environ.items() if not key.startswith("GOTONI_")}
        with log.open("ab") as file:
            process = await asyncio.create_subprocess_exec(
                *command, stdout=asyncio.subprocess.PIPE, stderr=file, env=environment
            )
        return process, log

    async def line(self) -> str:
        assert self.process.stdout
        line = (await asyncio.wait_for(self.process.stdout.readline(), START_S)).decode().strip()
        if not line:
            raise ChaosError(f"{self.name} does not start: {self.words()[-500:]}")
        return line

    def words(self) -> str:
        return self.log.read_text(errors="replace")

    async def kill(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def resident_mb(self) -> float:
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s*(\d+)", status)[1]) / 1024  # type: ignore[index]

    def files(self) -> int:
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))


class Engine(Program):
    port = 0

    @classmethod
    async def start(cls, options: argparse.Namespace, name: str, port: int = 0) -> Engine:
        command = [options.engine, "--listen", f"127.0.0.1:{port}", "--name", name, "--model-name", name]
        command += ["--speed", str(options.speed), "--kv-tokens", "400000", "--seed", "1"]
        engine = cls(name, *await Program.launch(name, command, options.out))
        engine.port = int((await engine.line()).rsplit(":", 1)[1])
        return engine

    async def fault(self, **order: Any) -> None:
        await ask(self.port, "POST", "/fault", order)


class Proxy(Program):
    port = 0
    admin = 0

    @classmethod
    async def start(cls, options: argparse.Namespace, number: int, port: int, servers: dict[str, int]) -> Proxy:
        command = [options.proxy, "--listen", f"127.0.0.1:{port}", *(word for pair in PROXY_OPTIONS.items() for word in pair)]
        if options.plant == "a short drain":
            command += ["--drain-timeout", "0.001s"]
        for name, server in servers.items():
            command += ["--server", f"{name}=http://127.0.0.1:{server}"]
        name = f"proxy-{number}"
        proxy = cls(name, *await Program.launch(name, command, options.out))
        proxy.port = int((await proxy.line()).rsplit(":", 1)[1])
        proxy.admin = int((await proxy.line()).rsplit(":", 1)[1])
        return proxy

    async def status(self) -> dict[str, Any]:
        return await ask(self.admin, "GET", "/proxy/status")

    async def until_up(self, least: int) -> None:
        async def holds() -> bool:
            return sum(server["healthy"] for server in (await self.status())["servers"]) >= least

        await until(f"{least} servers up at {self.name}", holds, START_S)


class Chaos:
    """As the seed has it, engines are broken and mended, and the proxy is given orders and successors."""

    def __init__(self, options: argparse.Namespace, out: Any) -> None:
        self.options = options
        names = [*(f"e{number}" for number in range(options.engines)), "operator"]
        self.draws = {name: random.Random(f"{options.seed} {name}") for name in names}
        self.is_over = False
        self.explains = Explains()
        # When proxies were asked to end.
        self.replaced = Explains()
        self.engines: dict[str, Engine] = {}
        # The servers that the proxy has been told of.
        self.servers: dict[str, int] = {}
        self.proxy: Proxy
        self.proxies = 0
        self.restarts = 0
        self.done: dict[str, int] = {}
        self.problems: list[str] = []
        self.log = out
        self.start = time.monotonic()
        # Of the last proxy: after its first requests.
        self.baseline_mb = 0.0
        # What the last proxy said at the end.
        self.last: dict[str, Any] = {}

    def note(self, text: str) -> None:
        print(f"{time.monotonic() - self.start:8.2f} s  {text}", file=self.log, flush=True)

    async def begin(self) -> None:
        for number in range(self.options.engines):
            engine = await Engine.start(self.options, f"e{number}")
            self.engines[engine.name] = engine
            self.servers[engine.name] = engine.port
        self.proxy = await Proxy.start(self.options, 0, 0, self.servers)
        await self.proxy.until_up(len(self.servers))

    # What is done. Each ends with everything as it was, but for what the proxy has learned.

    async def kill(self, engine: Engine, draw: random.Random) -> None:
        fault = self.explains.begin(engine.name)
        await engine.kill()
        self.explains.end(fault)
        await asyncio.sleep(draw.uniform(0.02, 0.8))
        self.engines[engine.name] = await Engine.start(self.options, engine.name, engine.port)

    async def crash(self, engine: Engine, draw: random.Random) -> None:
        fault = self.explains.begin(engine.name)
        await engine.fault(crash=True)
        self.explains.end(fault)

    async def cut(self, engine: Engine, draw: random.Random) -> None:
        fault = self.explains.begin(engine.name) if self.options.plant != "a silent cut" else None
        await engine.fault(cut_after_chunks=draw.randint(0, 4), count=draw.randint(1, 30))
        await asyncio.sleep(draw.uniform(0.02, 0.3))
        await engine.fault(reset=True)
        if fault:
            self.explains.end(fault)

    async def hang(self, engine: Engine, draw: random.Random) -> None:
        await engine.fault(hang=True)
        await asyncio.sleep(draw.uniform(0.05, 0.6))
        await engine.fault(reset=True)

    async def error(self, engine: Engine, draw: random.Random) -> None:
        await engine.fault(status=draw.choice((429, 500, 502, 503)), retry_after=1)
        await asyncio.sleep(draw.uniform(0.02, 0.4))
        await engine.fault(reset=True)

    async def refuse(self, engine: Engine, draw: random.Random) -> None:
        # As its connections are closed once accepted, this is asked for by signal.
        await engine.fault(refuse=True)
        await asyncio.sleep(draw.uniform(0.02, 0.5))
        engine.process.send_signal(signal.SIGUSR1)

    async def slow(self, engine: Engine, draw: random.Random) -> None:
        await engine.fault(slow=draw.choice((5, 20)))
        await asyncio.sleep(draw.uniform(0.05, 0.4))
        await engine.fault(reset=True)

    async def remove(self, engine: Engine, draw: random.Random) -> None:
        if len(self.servers) < 2:
            return
        await ask(self.proxy.admin, "DELETE", f"/proxy/servers?id={engine.name}")
        del self.servers[engine.name]
        await asyncio.sleep(draw.uniform(0.0, 0.4))
        await ask(self.proxy.admin, "POST", "/proxy/servers", {"id": engine.name, "ip": "127.0.0.1", "port": engine.port})
        self.servers[engine.name] = engine.port

    async def drain(self, engine: Engine, draw: random.Random) -> None:
        await ask(self.proxy.admin, "POST", f"/proxy/servers/drain?id={engine.name}")
        await asyncio.sleep(draw.uniform(0.02, 0.4))
        await ask(self.proxy.admin, "POST", f"/proxy/servers/undrain?id={engine.name}")

    async def policy(self, _: Engine, draw: random.Random) -> None:
        available = (await ask(self.proxy.admin, "GET", "/proxy/policy"))["available"]
        await ask(self.proxy.admin, "POST", "/proxy/policy", {"policy": draw.choice(available)})

    async def operate(self, engine: Engine, draw: random.Random) -> None:
        """What operators look at and turn, in the midst of it."""
        await ask(self.proxy.admin, "POST", "/proxy/tune", {"ms_per_token": draw.uniform(0.01, 1)})
        await ask(self.proxy.admin, "POST", f"/proxy/cache/clear?id={engine.name}")
        for path in ("/metrics", "/proxy/metrics/export?format=csv", "/proxy/metrics/summary", "/proxy/prefix/stats"):
            await ask(self.proxy.admin, "GET", path)

    async def restart_proxy(self) -> None:
        """A new one on the same port; then the old one is asked to end."""
        old = self.proxy
        self.proxies += 1
        new = await Proxy.start(self.options, self.proxies, old.port, self.servers)
        # Not all: some are broken at any time.
        await new.until_up(max(1, len(self.servers) // 2))
        self.proxy = new
        self.note(f"{old.name} is asked to end")
        ending = self.replaced.begin(old.name)
        old.process.send_signal(signal.SIGKILL if self.options.plant == "a killed proxy" else signal.SIGTERM)
        try:
            code = await asyncio.wait_for(old.process.wait(), 60)
        except TimeoutError:
            code = None
            await old.kill()
        self.replaced.end(ending)
        self.note(f"{old.name} has ended")
        self.problems += ended_badly(old.name, code, old.words())
        self.restarts += 1

    FAULTS = ((kill, 2), (crash, 2), (cut, 5), (hang, 2), (error, 4), (refuse, 2), (slow, 2))
    ORDERS = ((remove, 3), (drain, 2), (policy, 3), (operate, 3))

    async def break_engine(self, name: str) -> None:
        """One fault of this engine after the other, until cancelled between two."""
        draw = self.draws[name]
        while not self.is_over:
            await asyncio.sleep(draw.uniform(0.2, 2.5))
            fault = draw.choices([each for each, _ in self.FAULTS], [weight for _, weight in self.FAULTS])[0]
            self.note(f"{fault.__name__} {name}")
            await fault(self, self.engines[name], draw)
            self.count(fault.__name__)

    async def operate_proxy(self, clients: Clients) -> None:
        """Orders, and a new proxy now and then. The last one serves the last third of all requests."""
        total, draw = self.options.requests, self.draws["operator"]
        step = int(total * 0.65 / max(1, self.options.restarts))
        marks = [step * (number + 1) for number in range(self.options.restarts)]
        while not self.is_over:
            # A restart needs requests before, during and after it: nobody asks further than to the next one.
            clients.allowed = marks[0] + step if marks else total
            if marks and clients.done >= marks[0]:
                self.note("the proxy is replaced")
                await self.restart_proxy()
                marks.pop(0)
                self.count("new proxy")
            else:
                order = draw.choices([each for each, _ in self.ORDERS], [weight for _, weight in self.ORDERS])[0]
                name = draw.choice(sorted(self.engines))
                self.note(f"{order.__name__} {name}")
                await order(self, self.engines[name], draw)
                self.count(order.__name__)
            if not marks and not self.baseline_mb and clients.done > total * 0.7:
                self.baseline_mb = self.proxy.resident_mb()
            await asyncio.sleep(draw.uniform(0.05, 0.5))

    async def until_done(self, clients: Clients) -> None:
        """Breaks things until all requests but a few are done, and mends them."""
        tasks = [asyncio.create_task(self.break_engine(name)) for name in sorted(self.engines)]
        tasks.append(asyncio.create_task(self.operate_proxy(clients)))
        try:
            while clients.done < self.options.requests * 0.97:
                await asyncio.sleep(0.1)
                for task in tasks:
                    if task.done():
                        task.result()
                if self.proxy.process.returncode is not None:
                    raise ChaosError(f"{self.proxy.name} ended by itself with {self.proxy.process.returncode}")
            self.is_over = True
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def count(self, name: str) -> None:
        self.done[name] = self.done.get(name, 0) + 1

    async def account(self) -> None:
        """Nothing is left over, and every request was counted once."""
        status: dict[str, Any] = {}

        async def is_quiet() -> bool:
            nonlocal status
            status = await self.proxy.status()
            return not left_over(status)

        try:
            await until("quiet", is_quiet, QUIET_S)
        except ChaosError:
            self.problems.append(f"something is left over: {', '.join(left_over(status))}")
        self.problems += uneven(status)
        if "gotoni_requests_total" not in await ask(self.proxy.admin, "GET", "/metrics"):
            self.problems.append("/metrics is not answered")
        after = self.proxy.resident_mb()
        growth = after - self.baseline_mb if self.baseline_mb else 0.0
        kept = ("total_handled", "total_retried", "open_tickets", "under_way", "queue_size")
        self.last = {key: status[key] for key in kept} | {"mb_before": self.baseline_mb, "mb_after": after}
        self.last["files"] = self.proxy.files()
        if growth > GROWTH_MB:
            self.problems.append(f"the last proxy grew by {growth:.0f} MB")
        self.proxy.process.send_signal(signal.SIGTERM)
        try:
            code = await asyncio.wait_for(self.proxy.process.wait(), 60)
        except TimeoutError:
            code = None
        self.problems += ended_badly(self.proxy.name, code, self.proxy.words())

    async def end(self) -> None:
        for program in (*self.engines.values(), *([self.proxy] if hasattr(self, "proxy") else [])):
            await program.kill()


async def _progress(clients: Clients, chaos: Chaos, total: int) -> None:
    while True:
        await asyncio.sleep(5)
        passed = time.monotonic() - clients.start
        print(
            f"  {passed:4.0f} s: {clients.done} of {total} requests, {clients.done / passed:.0f}/s, "
            f"{chaos.restarts} proxies replaced, {len(clients.failures)} failures",
            flush=True,
        )


async def run(options: argparse.Namespace) -> bool:
    """True: something is wrong."""
    planted = f", with {options.plant}" if options.plant else ""
    print(f"chaos: {options.requests} requests, seed {options.seed}{planted}", flush=True)
    with (options.out / "chaos.log").open("w") as log:
        chaos = Chaos(options, log)
        clients: Clients | None = None
        helpers: list[asyncio.Task[None]] = []
        try:
            await chaos.begin()
            questions = Questions(options.requests, options.seed, options.plant)
            clients = Clients(chaos.proxy.port, questions, chaos.explains, chaos.replaced, options.seed, log)
            chaos.start = clients.start
            helpers.append(asyncio.create_task(_progress(clients, chaos, options.requests)))
            breaking = asyncio.create_task(chaos.until_done(clients))
            helpers.append(breaking)
            asking = asyncio.create_task(clients.all(options.connections))
            helpers.append(asking)
            await asyncio.wait({breaking, asking}, return_when=asyncio.FIRST_EXCEPTION)
            await breaking
            await asking
            took = time.monotonic() - clients.start
            await chaos.account()
        except (ChaosError, OSError, asyncio.IncompleteReadError, TimeoutError) as error:
            chaos.problems.append(f"the run broke off: {error!r}")
            took = time.monotonic() - chaos.start
        finally:
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            await chaos.end()
    return chaos_report.write(options, chaos, clients, took)
