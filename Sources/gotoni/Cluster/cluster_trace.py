#!/usr/bin/env python3
"""Traces several gotoni-lb nodes and gotoni-proxy at one time, as one file on one clock that ui.perfetto.dev opens.

    cluster_trace.py record http://10.0.0.2:8000 http://10.0.0.3:8000 --seconds 30 --out trace.json.gz
    cluster_trace.py start URL...
    cluster_trace.py stop URL... --out trace.json

GOTONI_ADMIN_TOKEN is sent as bearer token, if it is set. Nothing but Python's standard library is needed.

One clock: each node is asked several times over one connection what time its trace has. Its clock stands at that time
in the middle of the round trip, give or take half of it; of several answers the one of the least round trip is kept.
`record` asks at both ends. Where the two differ by more than their errors, the clock drifted, and times between are
interpolated; where not, the better one holds for all of the trace. And no request arrives before it was sent: clocks are
moved within their errors so that none does. `stop` alone asks at the end only: clocks of which
nothing is known drift up to 50 microseconds a second, those that NTP holds below one.

Exit status: 0 all nodes, 1 some did not answer (the others are in the file), 2 wrong arguments or nothing to write.
"""
from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import dataclasses
import gzip
import http.client
import io
import json
import os
import shutil
import socket
import ssl
import sys
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO, TextIO

PREFIXES = ("/lb", "/proxy")
MOST_NODES = 1_000
FIRST_ENGINE_SORT = 1_000

Event = dict[str, Any]


class TraceError(Exception):
    """What to tell the user about one node."""


def now_us() -> float:
    """The collector's clock: the same one in all processes of this machine."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC) / 1e3


# MARK: A node


@dataclasses.dataclass(frozen=True)
class Estimate:
    """When the node's trace was at 0, by the collector's clock."""

    at_us: float
    base_us: float
    error_us: float
    session: str


class UnixConnection(http.client.HTTPConnection):
    """To a socket of this machine, behind which a gateway may be elsewhere."""

    def __init__(self, path: str, timeout: float) -> None:
        super().__init__("localhost", timeout=timeout)
        self.socket_path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.socket_path)


class Node:
    """A gateway that answers /lb/trace/... or /proxy/trace/..., over one connection that stays open."""

    def __init__(self, url: str, timeout: float) -> None:
        self.url = url
        self.prefix: str | None = None
        if url.startswith("unix:"):
            self.address, self.path = url, ""
            self.connection: http.client.HTTPConnection = UnixConnection(url.removeprefix("unix:"), timeout)
            return
        parts = urllib.parse.urlsplit(url if "://" in url else f"http://{url}")
        try:
            port = parts.port
        except ValueError as error:
            raise TraceError(f"{url}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
            raise TraceError(f"{url}: not like http://HOST:PORT")
        self.address = parts.netloc.rpartition("@")[2]
        self.path = parts.path.rstrip("/")
        if parts.scheme == "https":
            context = ssl.create_default_context()
            self.connection = http.client.HTTPSConnection(
                parts.hostname, port, timeout=timeout, context=context)
        else:
            self.connection = http.client.HTTPConnection(parts.hostname, port, timeout=timeout)

    def close(self) -> None:
        self.connection.close()

    def ask(self, method: str, path: str) -> http.client.HTTPResponse:
        """The answer's head; its body must be read."""
        token = os.environ.get("GOTONI_ADMIN_TOKEN")
        try:
            self.connection.request(method, self.path + path, headers={"Authorization": f"Bearer {token}"} if token else {})
            return self.connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise TraceError(f"{self.url}: {str(error) or type(error).__name__}") from error

    def read(self, answer: http.client.HTTPResponse) -> Any:
        try:
            body = answer.read(1 << 20)
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            raise TraceError(f"{self.url}: {str(error) or type(error).__name__}") from error
        if answer.status != 200:
            raise TraceError(f"{self.url}: {answer.status} {_reason(body) or answer.reason}")
        try:
            return json.loads(body)
        except ValueError:
            raise TraceError(f"{self.url}: its answer is not JSON; is it a gotoni-lb or gotoni-proxy?") from None

    def status(self) -> dict[str, Any]:
        if self.prefix is None:
            self.prefix = self._find_prefix()
        found = self.read(self.ask("GET", f"{self.prefix}/trace/status"))
        if not isinstance(found, dict) or "clock_us" not in found:
            raise TraceError(f"{self.url}: no trace/status of gotoni: {str(found)[:80]}")
        return found

    def _find_prefix(self) -> str:
        for prefix in PREFIXES:
            answer = self.ask("GET", f"{prefix}/trace/status")
            body = answer.read(1 << 16)
            if answer.status == 200:
                return prefix
            if answer.status not in (400, 404, 405):
                raise TraceError(f"{self.url}: {answer.status} {_reason(body) or answer.reason}")
        raise TraceError(f"{self.url}: has neither /lb/trace/ nor /proxy/trace/")

    def start(self) -> str:
        self.status()
        answer = self.read(self.ask("POST", f"{self.prefix}/trace/start"))
        return str(answer["node_id"])

    def ping(self, count: int) -> Estimate:
        best: Estimate | None = None
        for _ in range(count):
            sent = now_us()
            status = self.status()
            received = now_us()
            if not status.get("active") or status["clock_us"] is None:
                raise TraceError(f"{self.url}: no trace runs there")
            # The clock is told in whole microseconds, rounded down: half of one is half of the rest.
            middle, error = (sent + received) / 2, (received - sent) / 2 + 0.5
            if best is None or error < best.error_us:
                best = Estimate(middle, middle - (status["clock_us"] + 0.5), error, str(status["session_id"]))
        assert best is not None
        # While other nodes are asked it would be silent for so long that the node may close it.
        self.close()
        return best

    def discard(self) -> None:
        """Its trace ends and nobody wants it."""
        self.stop().close()

    def stop(self) -> BinaryIO:
        """Its trace, in a temporary file."""
        answer = self.ask("POST", f"{self.prefix}/trace/stop")
        if answer.status != 200:
            self.read(answer)
        spool: BinaryIO = tempfile.TemporaryFile()
        try:
            shutil.copyfileobj(answer, spool, 1 << 20)
        except (OSError, http.client.HTTPException) as error:
            raise TraceError(f"{self.url}: its trace broke off: {str(error) or type(error).__name__}") from error
        return spool


def _reason(body: bytes) -> str:
    """The message of an error as gotoni writes it."""
    with contextlib.suppress(ValueError, KeyError, TypeError):
        return str(json.loads(body)["error"]["message"])
    return ""


# MARK: A trace


@dataclasses.dataclass
class NodeTrace:
    """What one node recorded, where it lies, and how its times become the collector's."""

    node: Node
    file: BinaryIO
    end: Estimate
    begin: Estimate | None = None
    other: dict[str, Any] = dataclasses.field(default_factory=dict)
    processes: dict[int, tuple[str, str]] = dataclasses.field(default_factory=dict)  # pid: name, kind
    # Of arrows: when, by the node's own clock.
    starts: dict[int, int] = dataclasses.field(default_factory=dict)
    ends: dict[int, int] = dataclasses.field(default_factory=dict)
    first_ns: int | None = None
    pids: dict[int, int] = dataclasses.field(default_factory=dict)  # pid here: pid in the merged file
    base_ns: int = 0
    drift: float = 0.0  # nanoseconds that the collector's clock makes more in one of the node's
    error_us: float = 0.0

    def __post_init__(self) -> None:
        self._set_clock()
        try:
            self._look()
        except (KeyError, TypeError, ValueError) as error:
            raise TraceError(f"{self.node.url}: its trace is broken: {type(error).__name__} {error}") from None

    def _look(self) -> None:
        for event in self.read():
            if event["ph"] == "M":
                if event["name"] == "process_name":
                    self.processes[event["pid"]] = (str(event["args"]["name"]), str(event["args"].get("kind", "")))
                continue
            at = nanoseconds(event["ts"])
            self.first_ns = at if self.first_ns is None else min(self.first_ns, at)
            if event["ph"] in "sf":
                (self.starts if event["ph"] == "s" else self.ends)[event["id"]] = at

    def _set_clock(self) -> None:
        best = self.end
        if self.begin and self.begin.session == self.end.session:
            span = self.end.at_us - self.begin.at_us
            moved = self.end.base_us - self.begin.base_us
            if abs(moved) > self.begin.error_us + self.end.error_us and span > 0:
                # Both points lie on one line: base + (1 + drift) * the node's time.
                self.drift = moved / (span - moved)
                best = dataclasses.replace(
                    self.begin, error_us=max(self.begin.error_us, self.end.error_us),
                    base_us=self.begin.base_us - self.drift * (self.begin.at_us - self.begin.base_us))
            else:
                best = min(self.begin, self.end, key=lambda estimate: estimate.error_us)
        self.base_ns, self.error_us = round(best.base_us * 1e3), best.error_us

    def shifted(self, own_ns: int) -> int:
        """By the collector's clock. It keeps the order, so that what was nested stays so."""
        return own_ns + self.base_ns + round(own_ns * self.drift)

    def read(self) -> Iterator[Event]:
        """The events, a line each, as gotoni writes them: a long trace is never in memory as a whole."""
        self.file.seek(0)
        text = io.TextIOWrapper(self.file, encoding="utf-8")
        try:
            if '"traceEvents":[' not in text.readline():
                raise TraceError(f"{self.node.url}: not a trace as gotoni writes it")
            for line in text:
                line = line.rstrip()
                if line == "],":
                    self.other = json.loads("{" + text.readline().strip())["otherData"]
                    return
                yield json.loads(line.removesuffix(","))
        except (ValueError, KeyError) as error:
            raise TraceError(f"{self.node.url}: its trace is broken: {error}") from None
        finally:
            text.detach()
        raise TraceError(f"{self.node.url}: its trace is broken: no end")

    @property
    def name(self) -> str:
        return str(self.other["node_id"])

    @property
    def gateway(self) -> str:
        """The name of its process: unique in the merged file, which what nodes call themselves need not be."""
        return next((name for name, kind in self.processes.values() if kind == "gateway"), self.name)


def nanoseconds(microseconds: float) -> int:
    return round(microseconds * 1e3)


def microseconds(nanoseconds: int) -> float | int:
    return nanoseconds // 1_000 if nanoseconds % 1_000 == 0 else nanoseconds / 1e3


def settle(traces: list[NodeTrace]) -> None:
    """Nothing arrives before it was sent: that says more of the clocks than the pings where these are less exact. A clock is
    moved on as far as it must, within the errors of the two; where that is not enough, nothing is moved."""
    needs: dict[tuple[int, int], int] = {}
    for tail, sender in enumerate(traces):
        for head, receiver in enumerate(traces):
            gaps = [receiver.shifted(receiver.ends[flow]) - sender.shifted(sender.starts[flow])
                    for flow in sender.starts.keys() & receiver.ends.keys()]
            if tail != head and gaps:
                needs[tail, head] = 1 - min(gaps)
    moved = [0] * len(traces)
    for _ in traces:
        before = list(moved)
        for (tail, head), need in needs.items():
            moved[head] = max(moved[head], moved[tail] + need)
        if moved == before:
            break
    else:
        return
    largest = max((trace.error_us for trace in traces), default=0.0)
    if all(move <= (trace.error_us + largest) * 1e3 for trace, move in zip(traces, moved)):
        for trace, move in zip(traces, moved):
            trace.base_ns += move


@dataclasses.dataclass
class Merged:
    summary: dict[str, Any]
    events: Iterator[Event]


def merge(traces: list[NodeTrace]) -> Merged:
    """Gateways first, then engines. Arrows of which one end is missing are left out, and counted."""
    names = Names()
    for kind in ("gateway", "engine"):
        for trace in traces:
            for pid, (_, found) in sorted(trace.processes.items()):
                if (found == "gateway") == (kind == "gateway"):
                    trace.pids[pid] = sum(len(other.pids) for other in traces) + 1
    for trace in sorted(traces, key=lambda trace: min(trace.pids.values(), default=0)):
        for pid, (name, kind) in sorted(trace.processes.items(), key=lambda item: trace.pids[item[0]]):
            trace.processes[pid] = (names.unique(name, trace.node.address), kind)

    starts: set[int] = set().union(*(trace.starts for trace in traces))
    ends: set[int] = set().union(*(trace.ends for trace in traces))
    both = starts & ends
    settle(traces)
    firsts = [trace.shifted(trace.first_ns) for trace in traces if trace.first_ns is not None]
    zero = min(firsts) if firsts else min(trace.base_ns for trace in traces)
    first = min(traces, key=lambda trace: trace.error_us)
    nodes = [
        {
            "node_id": trace.name, "process": trace.gateway,
            "session_id": trace.other["session_id"], "requests": trace.other["requests"],
            "dropped_requests": trace.other["dropped_requests"], "slices": trace.other["slices"],
            "offset_us": round((trace.base_ns - zero) / 1e3, 3), "error_us": round(trace.error_us, 3),
            "drift_ppm": round(trace.drift * 1e6, 3) if trace.begin else None,
        }
        for trace in traces
    ]
    summary = {
        # The wall clock of one node, at 0 of this file.
        "base_unix_us": round(first.other["base_unix_us"] - (first.base_ns - zero) / 1e3),
        "requests": sum(trace.other["requests"] for trace in traces),
        "dropped_requests": sum(trace.other["dropped_requests"] for trace in traces),
        "slices": sum(trace.other["slices"] for trace in traces),
        "flow_starts": len(both), "flow_ends": len(both),
        "dropped_flow_starts": len(starts - both), "dropped_flow_ends": len(ends - both),
        # Of arrows: seen to arrive before they were sent, by clocks that are that wrong. Set when all is written.
        "backward_flows": 0,
        "nodes": nodes,
    }

    def events() -> Iterator[Event]:
        sent: dict[int, int] = {}
        arrived: dict[int, int] = {}
        for trace in traces:
            for pid, (name, kind) in trace.processes.items():
                number = trace.pids[pid]
                order = number - 1 if kind == "gateway" else FIRST_ENGINE_SORT + number
                yield meta(number, "process_name", {"name": name, "kind": kind, "node": trace.gateway})
                yield meta(number, "process_sort_index", {"sort_index": order})
            for event in trace.read():
                if event["ph"] == "M" and event["name"] in ("process_name", "process_sort_index"):
                    continue
                event["pid"] = trace.pids[event["pid"]]
                if "ts" in event:
                    own = nanoseconds(event["ts"])
                    begin = trace.shifted(own) - zero
                    event["ts"] = microseconds(begin)
                    if "dur" in event:
                        event["dur"] = microseconds(trace.shifted(own + nanoseconds(event["dur"])) - zero - begin)
                    if event["ph"] in "sf":
                        if event["id"] not in both:
                            continue
                        (sent if event["ph"] == "s" else arrived)[event["id"]] = begin
                yield event
        summary["backward_flows"] = sum(arrived[flow] < sent[flow] for flow in both)

    return Merged(summary, events())


def meta(pid: int, name: str, args: dict[str, Any]) -> Event:
    return {"ph": "M", "name": name, "pid": pid, "tid": 0, "args": args}


class Names:
    """Viewers tell processes apart by their names."""

    def __init__(self) -> None:
        self.taken: set[str] = set()

    def unique(self, name: str, where: str) -> str:
        found, number = name, 1
        while found in self.taken:
            found = f"{name} ({where})" if number == 1 else f"{name} ({where}) {number}"
            number += 1
        self.taken.add(found)
        return found


def write(merged: Merged, path: str) -> None:
    """One event a line; the file takes its place when it is whole."""
    part = f"{path}.part"
    try:
        with opened(part, packed=path.endswith(".gz")) as out:
            out.write('{"displayTimeUnit":"ms","traceEvents":[\n')
            between = ""
            for event in merged.events:
                out.write(between + json.dumps(event, separators=(",", ":"), ensure_ascii=False))
                between = ",\n"
            out.write("\n],\n" + json.dumps({"otherData": merged.summary}, ensure_ascii=False)[1:] + "\n")
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def opened(path: str, packed: bool) -> TextIO:
    # Without a time in its head the same trace gives the same file.
    if not packed:
        return open(path, "w", encoding="utf-8")
    return io.TextIOWrapper(gzip.GzipFile(path, "wb", compresslevel=6, mtime=0), encoding="utf-8")


# MARK: The commands


class Collector:
    """Does each step at all nodes, and goes on without those that fail."""

    def __init__(self, urls: list[str], timeout: float, pings: int) -> None:
        self.pings = pings
        self.failures: list[str] = []
        self.nodes: list[Node] = []
        for url in dict.fromkeys(urls):
            self.nodes.append(Node(url, timeout))

    def each(self, step: Callable[[Node], Any], nodes: list[Node], together: bool) -> dict[Node, Any]:
        """Pings go one after the other: two at a time would wait for each other."""
        done: dict[Node, Any] = {}
        with concurrent.futures.ThreadPoolExecutor(max_workers=min(32, len(nodes)) if together and nodes else 1) as pool:
            for node, future in [(node, pool.submit(step, node)) for node in nodes]:
                try:
                    done[node] = future.result()
                except TraceError as error:
                    self.failures.append(str(error))
                    print(f"cluster_trace: {error}", file=sys.stderr)
        return done

    def start(self) -> dict[Node, str]:
        return self.each(Node.start, self.nodes, together=True)

    def ping(self, nodes: list[Node]) -> dict[Node, Estimate]:
        return self.each(lambda node: node.ping(self.pings), nodes, together=False)

    def stop(self, nodes: list[Node], begun: dict[Node, Estimate]) -> list[NodeTrace]:
        ended = self.ping(nodes)
        files = self.each(Node.stop, list(ended), together=True)
        traces = self.each(
            lambda node: NodeTrace(node, files[node], ended[node], begun.get(node)), list(files), together=False)
        return list(traces.values())


def table(rows: list[list[str]], left: int) -> str:
    """Its first `left` columns are words, the others figures."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(cell.ljust(width) if column < left else cell.rjust(width)
                  for column, (cell, width) in enumerate(zip(row, widths))).rstrip()
        for row in rows)


def report(summary: dict[str, Any], path: str) -> str:
    rows = [["node", "requests", "dropped", "slices", "offset ms", "error ms"]]
    for node in summary["nodes"]:
        rows.append([
            node["process"], f"{node['requests']}", f"{node['dropped_requests']}", f"{node['slices']}",
            f"{node['offset_us'] / 1e3:.3f}", f"{node['error_us'] / 1e3:.3f}"])
    rows.append(["all", *(f"{summary[key]}" for key in ("requests", "dropped_requests", "slices")), "", ""])
    lines = [table(rows, left=1), f"arrows between nodes: {summary['flow_starts']}"]
    if missing := summary["dropped_flow_starts"] + summary["dropped_flow_ends"]:
        lines.append(
            f"arrows left out, one end of which no node recorded: {missing} "
            f"({summary['dropped_flow_starts']} beginnings, {summary['dropped_flow_ends']} ends)")
    if summary["backward_flows"]:
        lines.append(
            f"arrows that arrive before they were sent: {summary['backward_flows']}; clocks are no better than the errors "
            "above, collect from a machine near the nodes")
    for node in summary["nodes"]:
        if node["drift_ppm"]:
            lines.append(f"the clock of {node['process']} drifted {node['drift_ppm']:.1f} us a second; accounted for")
    return "\n".join([*lines, f"written: {path}"])


def finish(collector: Collector, traces: list[NodeTrace], options: argparse.Namespace) -> int:
    if not traces:
        print("cluster_trace: no node gave a trace; nothing is written", file=sys.stderr)
        return 2
    merged = merge(traces)
    try:
        write(merged, options.out)
    except OSError as error:
        print(f"cluster_trace: {options.out}: {error.strerror}", file=sys.stderr)
        return 2
    if options.json:
        print(json.dumps({**merged.summary, "file": options.out, "failures": collector.failures}))
    else:
        print(report(merged.summary, options.out))
    return 1 if collector.failures else 0


def parsed(arguments: list[str] | None) -> argparse.Namespace:
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="cluster_trace.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, text in (
        ("start", "start a trace on each node"),
        ("stop", "stop the trace of each node and write one file"),
        ("record", "start, wait, stop"),
    ):
        command = commands.add_parser(name, help=text, description=text)
        command.add_argument("urls", metavar="URL", nargs="+",
            help="a gotoni-lb or gotoni-proxy, or its control address; unix:PATH is a socket")
        command.add_argument("--timeout", type=positive, default=30, metavar="SECONDS", help="for an answer [30]")
        command.add_argument("--json", action="store_true", help="print the summary as JSON")
        if name != "start":
            command.add_argument("--out", required=True, metavar="FILE[.gz]", help="the merged trace; .gz packs it")
            command.add_argument("--pings", type=count, default=12, metavar="N", help="questions for a clock [12]")
        if name == "record":
            command.add_argument("--seconds", type=positive, required=True, metavar="N", help="Control-C ends it sooner")
    options = parser.parse_args(arguments)
    if len(options.urls) > MOST_NODES:
        parser.error(f"at most {MOST_NODES} nodes")
    if options.command != "start" and not os.path.isdir(os.path.dirname(os.path.abspath(options.out))):
        parser.error(f"--out {options.out}: its folder does not exist")
    return options


def positive(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError("must be above 0")
    return value


def count(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 1_000:
        raise argparse.ArgumentTypeError("must be 1 to 1000")
    return value


def main(arguments: list[str] | None = None) -> int:
    options = parsed(arguments)
    try:
        collector = Collector(options.urls, options.timeout, getattr(options, "pings", 1))
    except TraceError as error:
        print(f"cluster_trace: {error}", file=sys.stderr)
        return 2
    try:
        if options.command == "stop":
            return finish(collector, collector.stop(collector.nodes, {}), options)
        started = collector.start()
        if options.command == "start":
            if options.json:
                print(json.dumps({"started": list(started.values()), "failures": collector.failures}))
            elif started:
                print("traces run on: " + ", ".join(started.values()))
            return 1 if collector.failures else 0
        if not started:
            return 2
        try:
            begun = collector.ping(list(started))
            with contextlib.suppress(KeyboardInterrupt):
                time.sleep(options.seconds)
        except BaseException:
            # Nobody is left who would stop them.
            collector.each(Node.discard, list(started), together=True)
            raise
        return finish(collector, collector.stop(list(started), begun), options)
    finally:
        for node in collector.nodes:
            node.close()


if __name__ == "__main__":
    sys.exit(main())
