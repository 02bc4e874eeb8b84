#!/usr/bin/env python3
"""Where the time of each request went, from a trace of one node or of several (cluster_trace.py).

    analyze_trace.py trace.json.gz [--top 5] [--plot times.png] [--json]

A client's request is one that no other gateway forwarded. Its time is cut into parts, which add up to all of it:

    read             until the request's body had come, here and where it was forwarded to
    queue            in the queue of the node that the client asked
    queue elsewhere  in the queue of the node that it was forwarded to
    forward          on the way there and back: the forward, less what the other node was at it meanwhile
    failed           in attempts that gave no answer, here or there, and until the next attempt began
    prefill          at the engine, from sending until the first byte; the engine's own queue is in it
    decode           at the engine, from the first byte until the last
    unseen           forwarded to a node of which there is no trace
    other            the rest: choosing, connecting, and giving up

The parts are lengths of one clock each. TTFT is from the beginning of the request to the first byte that the engine
which served it sent to its node; between two nodes it is as wrong as the clocks are apart (cluster_trace.py says).

Exit status: 0, 1 parts that do not add up or are below 0, 2 wrong arguments or no trace as gotoni writes it.
"""
from __future__ import annotations

import argparse
import bisect
import collections
import dataclasses
import gzip
import json
import math
import sys
from typing import Any

PARTS: tuple[str, ...] = ("read", "queue", "queue elsewhere", "forward", "failed", "prefill", "decode", "unseen", "other")
COLOURS = ("#9fb8d8", "#e0a030", "#b06f10", "#7a5fa8", "#c03028", "#1b7f79", "#7cc4bd", "#555555", "#c8ced4")
WIDTH = 80
MOST_VIOLATIONS = 20

Event = dict[str, Any]


class NotATrace(Exception):
    pass


# MARK: Reading


@dataclasses.dataclass
class Slice:
    name: str
    begin: int  # nanoseconds, all of them
    end: int
    args: dict[str, Any]
    children: list[Slice] = dataclasses.field(default_factory=list)

    @property
    def length(self) -> int:
        return self.end - self.begin


@dataclasses.dataclass
class Request:
    """What one gateway did with a request."""

    node: str
    slice: Slice
    waits: list[tuple[int, int]] = dataclasses.field(default_factory=list)

    @property
    def id(self) -> str:
        return str(self.slice.args["req"])

    @property
    def status(self) -> int:
        return int(self.slice.args["status"])

    @property
    def is_failed(self) -> bool:
        """With those that were cut off, or whose client left, behind a good beginning."""
        return self.status == 0 or self.status >= 400 or bool(self.slice.args.get("error"))


@dataclasses.dataclass
class Trace:
    requests: list[Request]
    by_flow: dict[int, Request]
    # What an engine did, by its node, its request, its beginning and its end: as the attempt of the node says.
    processes: dict[tuple[str, str, int, int], list[Slice]]
    dropped: int
    error_us: float


def nanoseconds(microseconds: float) -> int:
    return round(microseconds * 1e3)


def load(path: str) -> Trace:
    try:
        with open(path, "rb") as file:
            is_packed = file.read(2) == b"\x1f\x8b"
        with (gzip.open if is_packed else open)(path, "rt", encoding="utf-8") as text:
            document = json.load(text)
    except (OSError, EOFError) as error:
        raise NotATrace(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except ValueError as error:
        raise NotATrace(f"{path}: not JSON: {error}") from None
    if not isinstance(document, dict) or not isinstance(document.get("traceEvents"), list):
        raise NotATrace(f"{path}: not a Chrome trace (no traceEvents)")
    other = document.get("otherData")
    if not isinstance(other, dict) or not ("node_id" in other or "nodes" in other):
        raise NotATrace(f"{path}: a Chrome trace, but not one of gotoni-lb, gotoni-proxy or cluster_trace.py")
    try:
        return _read(document["traceEvents"], other)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotATrace(f"{path}: an event is not as gotoni writes it: {type(error).__name__} {error}") from None


def _read(events: list[Event], other: dict[str, Any]) -> Trace:
    names: dict[int, tuple[str, str, str | None]] = {}
    tracks: dict[tuple[int, int], list[Slice]] = collections.defaultdict(list)
    waits: dict[tuple[int, str], dict[str, Any]] = {}
    for event in events:
        phase = event["ph"]
        if phase == "M" and event["name"] == "process_name":
            args = event["args"]
            names[event["pid"]] = (args["name"], args["kind"], args.get("node"))
        elif phase == "X":
            begin = nanoseconds(event["ts"])
            tracks[event["pid"], event["tid"]].append(
                Slice(event["name"], begin, begin + nanoseconds(event["dur"]), event.get("args", {})))
        elif phase in "be":
            wait = waits.setdefault((event["pid"], event["id2"]["local"]), {"track": (event["pid"], event["tid"])})
            wait[phase] = nanoseconds(event["ts"])
    only = next((name for name, kind, _ in names.values() if kind == "gateway"), "")
    trace = Trace([], {}, collections.defaultdict(list), other.get("dropped_requests", 0),
                  max((node["error_us"] for node in other.get("nodes", [])), default=0.0))
    on_track: dict[tuple[int, int], list[Request]] = collections.defaultdict(list)
    for (pid, tid), slices in tracks.items():
        name, kind, node = names[pid]
        for slice in nested(slices):
            if kind == "engine" and slice.name == "process":
                trace.processes[node or only, slice.args["req"], slice.begin, slice.end].append(slice)
            elif kind == "gateway" and slice.name == "request":
                request = Request(name, slice)
                _ = (int(request.slice.args["hops"]), request.status, request.id)  # must be there
                on_track[pid, tid].append(request)
                trace.requests.append(request)
                if (flow := slice.args.get("flow")) is not None:
                    trace.by_flow[flow] = request
            else:
                raise ValueError(f"{slice.name} in {name}")
    for wait in waits.values():
        found = on_track[wait["track"]]
        place = bisect.bisect_right(found, wait["b"], key=lambda request: request.slice.begin) - 1
        if place < 0 or wait["e"] > found[place].slice.end:
            raise ValueError("a queue outside of all requests")
        found[place].waits.append((wait["b"], wait["e"]))
    return trace


def nested(slices: list[Slice]) -> list[Slice]:
    """The outer ones in order, with the others in them. Of those that begin together the outer one is written first."""
    outer: list[Slice] = []
    for slice in sorted(slices, key=lambda slice: slice.begin):
        if slice.name in ("request", "process"):
            outer.append(slice)
        elif outer and slice.end <= outer[-1].end:
            outer[-1].children.append(slice)
        else:
            raise ValueError(f"{slice.name} outside of a request")
    return outer


# MARK: Parts


@dataclasses.dataclass
class Piece:
    """A stretch of a request's time, for the picture of one request."""

    part: str
    begin: int
    length: int
    where: str


@dataclasses.dataclass
class Account:
    """One client's request."""

    request: Request
    served_by: str
    is_forwarded: bool
    parts: dict[str, int]
    ttft: int | None
    pieces: list[Piece]
    violations: list[str]

    @property
    def total(self) -> int:
        return self.request.slice.length


class Accountant:
    def __init__(self, trace: Trace) -> None:
        self.trace = trace

    def account(self, request: Request) -> Account:
        self.parts = dict.fromkeys(PARTS, 0)
        self.pieces: list[Piece] = []
        self.violations: list[str] = []
        self.first_byte: int | None = None
        self.served_by = request.node
        self.is_forwarded = False
        self.limit: int | None = None
        self.take(request, "queue", depth=0)
        total = sum(self.parts.values())
        if total != request.slice.length:
            self.violations.append(f"parts make {total / 1e6:.6f} ms of {request.slice.length / 1e6:.6f} ms")
        for part, length in self.parts.items():
            if length < 0:
                self.violations.append(f"{part} takes {length / 1e6:.6f} ms")
        ttft = None if self.first_byte is None else self.first_byte - request.slice.begin
        return Account(request, self.served_by, self.is_forwarded, self.parts, ttft, self.pieces,
                       [f"{request.node} {request.id}: {what}" for what in self.violations])

    def add(self, part: str, begin: int, length: int, where: str) -> None:
        if self.limit is not None:
            length = min(begin + length, self.limit) - min(begin, self.limit)
        self.parts[part] += length
        if length > 0:
            self.pieces.append(Piece(part, begin, length, where))

    def take(self, request: Request, queue: str, depth: int) -> None:
        """All of what the gateway did: its waits, its attempts, and the gaps between."""
        attempts = [child for child in request.slice.children if child.name != "read"]
        stretches: list[tuple[int, int, Slice | str]] = [(begin, end, queue) for begin, end in request.waits]
        stretches += [(child.begin, child.end, "read") for child in request.slice.children if child.name == "read"]
        stretches += [(attempt.begin, attempt.end, attempt) for attempt in attempts]
        at = request.slice.begin
        for begin, end, attempt in sorted(stretches, key=lambda stretch: stretch[:2]):
            if begin < at:
                self.violations.append(f"what began at {begin / 1e6:.6f} ms overlaps what was before")
            self.add("other", at, begin - at, request.node)
            if isinstance(attempt, str):
                self.add(attempt, begin, end - begin, request.node)
            else:
                self.take_attempt(request, attempt, attempt is attempts[-1], depth)
            at = end
        self.add("other", at, request.slice.end - at, request.node)

    def take_attempt(self, request: Request, attempt: Slice, is_last: bool, depth: int) -> None:
        failed = request.status == 0 or request.status >= 500
        if attempt.name == "local":
            if not is_last:
                return self.add("failed", attempt.begin, attempt.length, request.node)
            return self.take_local(request, attempt, failed)
        if not is_last:
            return self.add("failed", attempt.begin, attempt.length, str(attempt.args["to"]))
        there = self.trace.by_flow.get(attempt.args.get("flow", -1))
        if there is None or depth > 0 or there is request:
            if not failed:
                self.is_forwarded, self.served_by = True, str(attempt.args["to"])
            return self.add("failed" if failed else "unseen", attempt.begin, attempt.length, str(attempt.args["to"]))
        self.is_forwarded, self.served_by = True, there.node
        # The other node may note the end of its request after all of the answer has arrived here: that is nobody's time.
        length = min(there.slice.length, attempt.length)
        both_ways = attempt.length - length
        # How much of it is the way there only two clocks say, which must not make the way back shorter than nothing.
        way_there = min(max(there.slice.begin - attempt.begin, 0), both_ways)
        self.add("forward", attempt.begin, way_there, "to " + there.node)
        self.limit = there.slice.begin + length
        self.take(there, "queue elsewhere", depth + 1)
        self.limit = None
        self.add("forward", attempt.end - (both_ways - way_there), both_ways - way_there, "from " + there.node)

    def take_local(self, request: Request, attempt: Slice, failed: bool) -> None:
        found = self.trace.processes.get((request.node, request.id, attempt.begin, attempt.end))
        steps = {step.name: step for step in found[0].children} if found else {}
        if failed:
            return self.add("failed", attempt.begin, attempt.length, request.node)
        at = attempt.begin
        for name in ("prefill", "decode"):
            if step := steps.get(name):
                self.add("other", at, step.begin - at, request.node)
                self.add(name, step.begin, step.length, request.node)
                at = step.end
        self.add("other", at, attempt.end - at, request.node)
        if decode := steps.get("decode"):
            self.first_byte = decode.begin
        self.served_by = request.node


def client_requests(trace: Trace) -> tuple[list[Request], int]:
    """Those that no gateway sent on, and how many a proxy did: they are in its own requests already."""
    own = [request for request in trace.requests if request.slice.args["hops"] == 0]
    slack = nanoseconds(2 * trace.error_us)
    # Attempts by the request's id and their node, in order: clients may give many requests one id.
    attempts: dict[str, dict[str, list[Slice]]] = collections.defaultdict(lambda: collections.defaultdict(list))
    for request in own:
        attempts[request.id][request.node] += [child for child in request.slice.children if child.name != "read"]
    for by_node in attempts.values():
        for children in by_node.values():
            children.sort(key=lambda child: child.begin)

    def is_inner(request: Request) -> bool:
        """Whether an attempt of another node spans it: of those that had begun by then, one of the last."""
        for node, children in attempts[request.id].items():
            if node == request.node:
                continue
            last = bisect.bisect_right(children, request.slice.begin + slack, key=lambda child: child.begin)
            for child in children[max(0, last - 1_000):last]:
                if child.length > request.slice.length and request.slice.end <= child.end + slack:
                    return True
        return False

    found = [request for request in own if not is_inner(request)]
    return found, len(own) - len(found)


# MARK: Figures


def quantile(ordered: list[int], share: float) -> float | None:
    """Between two values in proportion."""
    if not ordered:
        return None
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def milliseconds(value: float | None) -> float | None:
    return None if value is None else round(value / 1e6, 6)


def spread(values: list[int]) -> dict[str, float | None]:
    ordered = sorted(values)
    return {
        "mean": milliseconds(sum(ordered) / len(ordered)) if ordered else None,
        **{f"p{percent}": milliseconds(quantile(ordered, percent / 100)) for percent in (50, 95, 99)},
    }


def figures(accounts: list[Account]) -> dict[str, Any]:
    count = len(accounts)
    all_time = sum(account.total for account in accounts)
    return {
        "requests": count,
        "failed_requests": sum(account.request.is_failed for account in accounts),
        "forwarded": sum(account.is_forwarded for account in accounts),
        "forwarded_share": round(sum(account.is_forwarded for account in accounts) / count, 6) if count else None,
        "total_ms": spread([account.total for account in accounts]),
        "ttft_ms": spread([account.ttft for account in accounts if account.ttft is not None]),
        "without_first_byte": sum(account.ttft is None for account in accounts),
        "parts": {
            part: {
                "mean_ms": milliseconds(sum(account.parts[part] for account in accounts) / count) if count else None,
                "share": round(sum(account.parts[part] for account in accounts) / all_time, 6) if all_time else 0.0,
            }
            for part in PARTS
        },
    }


def summary(trace: Trace, accounts: list[Account], inner: int) -> dict[str, Any]:
    nodes: dict[str, list[Account]] = collections.defaultdict(list)
    for account in accounts:
        nodes[account.request.node].append(account)
    violations = [what for account in accounts for what in account.violations]
    return {
        "dropped_requests": trace.dropped, "requests_behind_a_proxy": inner,
        "clock_error_ms": round(trace.error_us / 1e3, 3),
        "overall": figures(accounts), "nodes": {node: figures(nodes[node]) for node in sorted(nodes)},
        "violations": len(violations), "first_violations": violations[:MOST_VIOLATIONS],
    }


# MARK: Showing


def table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width) for column, (cell, width) in enumerate(zip(row, widths)))
        for row in rows)


def shown(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def text(found: dict[str, Any]) -> str:
    columns = {**found["nodes"], "all": found["overall"]}
    percentiles = ("mean", "p50", "p95", "p99")
    times = [["node", "requests", "forwarded", "total ms mean", *percentiles[1:], "TTFT ms mean", *percentiles[1:]]]
    for name, node in columns.items():
        times.append([
            name, f"{node['requests']}", f"{(node['forwarded_share'] or 0) * 100:.1f} %",
            *(shown(node["total_ms"][key]) for key in percentiles), *(shown(node["ttft_ms"][key]) for key in percentiles)])
    present = [part for part in PARTS if found["overall"]["parts"][part]["share"]]
    means = [["mean ms", *present, "all"]]
    shares = [["share %", *present, "all"]]
    for name, node in columns.items():
        parts = [node["parts"][part] for part in present]
        means.append([name, *(shown(part["mean_ms"]) for part in parts), shown(node["total_ms"]["mean"])])
        of_all = [part["share"] * 100 for part in parts]
        shares.append([name, *(f"{share:.1f}" for share in of_all), f"{sum(of_all):.1f}"])
    lines = [table(times), "", table(means), "", table(shares), ""]
    overall = found["overall"]
    if overall["failed_requests"]:
        lines.append(f"requests that failed, were cut off, or whose clients left: {overall['failed_requests']}")
    if overall["without_first_byte"]:
        lines.append(f"requests without a first byte in the trace, which TTFT leaves out: {overall['without_first_byte']}")
    if found["dropped_requests"]:
        lines.append(f"requests that nodes dropped, which were too many for one trace: {found['dropped_requests']}")
    if found["requests_behind_a_proxy"]:
        lines.append(f"requests from a proxy, which are counted there only: {found['requests_behind_a_proxy']}")
    if found["violations"]:
        lines.append(f"PARTS DO NOT ADD UP: {found['violations']} times")
        lines += [f"  {what}" for what in found["first_violations"]]
    else:
        lines.append("The parts of each request add up to its time.")
    return "\n".join(lines)


def waterfall(account: Account) -> str:
    """Its pieces one below the other, on one scale."""
    request = account.request
    way = f"{request.node} -> {account.served_by}" if account.is_forwarded else request.node
    head = f"{account.total / 1e6:.1f} ms  {way}  status {request.status}"
    lines = [f"{head}  {request.id}"[:WIDTH]]
    # What is too short to see is one piece with what is like it.
    pieces: list[Piece] = []
    for piece in sorted(account.pieces, key=lambda piece: piece.begin):
        if piece.part != "other" or piece.length * 100 >= account.total:
            pieces.append(piece)
    names = [f"{piece.part} {piece.where}" for piece in pieces]
    label = min(max((len(name) for name in names), default=0), 28)
    bar = WIDTH - label - 14
    for piece, name in zip(pieces, names):
        begin = (piece.begin - request.slice.begin) / max(account.total, 1)
        first = min(max(round(begin * bar), 0), bar - 1)
        last = min(max(round((begin + piece.length / max(account.total, 1)) * bar), first + 1), bar)
        drawn = " " * first + "#" * (last - first)
        lines.append(f"  {name[:label]:<{label}} {drawn:<{bar}} {piece.length / 1e6:>8.1f}")
    return "\n".join(lines)


def plot(path: str, found: dict[str, Any], accounts: list[Account]) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import FuncFormatter

    columns = {**found["nodes"], "all": found["overall"]}
    figure, (bars, totals, firsts) = plt.subplots(
        1, 3, figsize=(15, 4 + 0.3 * max(len(columns) - 6, 0)), layout="constrained")
    labels = [f"{name}\n{node['requests']:,} requests,\n{(node['forwarded_share'] or 0) * 100:.0f} % forwarded"
              for name, node in columns.items()]
    lefts = [0.0] * len(columns)
    for part, colour in zip(PARTS, COLOURS):
        widths = [max(node["parts"][part]["mean_ms"] or 0.0, 0.0) for node in columns.values()]
        if any(widths):
            bars.barh(labels, widths, left=lefts, color=colour, label=part, height=0.6)
            lefts = [left + width for left, width in zip(lefts, widths)]
    bars.invert_yaxis()
    bars.tick_params(axis="y", labelsize=8)
    bars.set_xlabel("mean ms of a request")
    bars.set_title("Where the time goes, by the node asked", loc="left", fontsize=10)
    bars.legend(fontsize=8, frameon=False, ncols=4, loc="upper center", bbox_to_anchor=(0.4, -0.16))
    of_node: dict[str, list[Account]] = collections.defaultdict(list)
    for account in accounts:
        of_node[account.request.node].append(account)
    for axes, title, values in (
        (totals, "Total", lambda account: account.total), (firsts, "Time to first token", lambda account: account.ttft),
    ):
        for node in sorted(of_node):
            ordered = sorted(value / 1e6 for account in of_node[node] if (value := values(account)) is not None)
            if ordered:
                axes.step(ordered, [(place + 1) / len(ordered) for place in range(len(ordered))], where="post", label=node)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        axes.set_xlabel("ms")
        axes.set_ylim(0, 1)
        axes.set_ylabel("share of requests")
        axes.set_title(f"{title}, by the node asked", loc="left", fontsize=10)
        axes.grid(alpha=0.3, which="both")
        if len(of_node) <= 12:
            axes.legend(fontsize=8, frameon=False, loc="upper left")
    for axes in (bars, totals, firsts):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)


def main(arguments: list[str] | None = None) -> int:
    assert __doc__
    parser = argparse.ArgumentParser(
        prog="analyze_trace.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", metavar="FILE[.gz]", help="of cluster_trace.py, or what trace/stop gave")
    parser.add_argument("--top", type=int, default=0, metavar="N", help="show the N slowest requests")
    parser.add_argument("--plot", metavar="FILE.png", help="draw bars and distributions (wants matplotlib)")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    options = parser.parse_args(arguments)
    try:
        trace = load(options.file)
    except NotATrace as error:
        print(f"analyze_trace: {error}", file=sys.stderr)
        return 2
    requests, inner = client_requests(trace)
    accountant = Accountant(trace)
    accounts = [accountant.account(request) for request in requests]
    found = summary(trace, accounts, inner)
    slowest = sorted(accounts, key=lambda account: -account.total)[: max(options.top, 0)]
    if options.json:
        found["slowest"] = [
            {"req": account.request.id, "node": account.request.node, "served_by": account.served_by,
             "status": account.request.status,
             "total_ms": milliseconds(account.total), "ttft_ms": milliseconds(account.ttft),
             "parts_ms": {part: milliseconds(account.parts[part]) for part in PARTS}}
            for account in slowest]
        print(json.dumps(found))
    elif not accounts:
        print("No client's request is in this trace.")
    else:
        print(text(found))
        for account in slowest:
            print("\n" + waterfall(account))
    if options.plot:
        try:
            plot(options.plot, found, accounts)
        except ImportError:
            print("analyze_trace: --plot wants matplotlib: pip install matplotlib", file=sys.stderr)
            return 2
        except (OSError, ValueError) as error:
            print(f"analyze_trace: {options.plot}: {error}", file=sys.stderr)
            return 2
    return 1 if found["violations"] else 0


if __name__ == "__main__":
    sys.exit(main())
