"""Is a trace whole and sound? What Perfetto would drop in silence is found here, without Perfetto.

    trace_check.py FILE[.gz]...

Of one node or merged by benchmark/cluster_trace.py. Prints a line per problem; exit status 1 if there is one.
"""
from __future__ import annotations

import collections
import gzip
import json
import math
import sys
from typing import Any

Event = dict[str, Any]
Track = tuple[int, int]

# What a slice lies in, and in which kind of process.
PARENTS = {
    "request": (None, "gateway"), "read": ("request", "gateway"), "local": ("request", "gateway"), "forward": ("request", "gateway"),
    "process": (None, "engine"), "prefill": ("process", "engine"), "decode": ("process", "engine"),
}
ARROW_TAIL, ARROW_HEAD = ("forward",), ("process", "request")
COUNTS = ("prompt_tokens", "matched_tokens", "cached_tokens", "output_tokens", "hops")
MOST_PROBLEMS = 50


def load(path: str) -> Any:
    with (gzip.open if path.endswith(".gz") else open)(path, "rt", encoding="utf-8") as file:
        return json.load(file, parse_constant=_refuse)


def _refuse(word: str) -> Any:
    raise ValueError(f"{word} is no JSON")


def problems(trace: Any) -> list[str]:
    """Each in a sentence; none: the trace is sound. A merged file is known by the nodes in its otherData."""
    if not isinstance(trace, dict) or not isinstance(trace.get("traceEvents"), list):
        return ["not a Chrome JSON object"]
    checker = _Checker(trace)
    checker.run()
    return checker.found


class _Checker:
    def __init__(self, trace: dict[str, Any]) -> None:
        self.found: list[str] = []
        self.events: list[Event] = trace["traceEvents"]
        self.other = trace.get("otherData")
        self.is_merged = isinstance(self.other, dict) and "nodes" in self.other
        self.kinds: dict[int, str] = {}
        self.names: dict[int, str] = {}
        self.threads: set[Track] = set()
        self.slices: dict[Track, list[tuple[int, int, str]]] = collections.defaultdict(list)
        self.spans: dict[Any, list[tuple[str, int]]] = collections.defaultdict(list)
        self.arrows: dict[Any, dict[str, list[tuple[Track, int]]]] = collections.defaultdict(lambda: {"s": [], "f": []})
        self.counted: collections.Counter[str] = collections.Counter()

    def say(self, problem: str) -> None:
        if len(self.found) < MOST_PROBLEMS:
            self.found.append(problem)

    def run(self) -> None:
        for number, event in enumerate(self.events):
            if problem := self.take(event):
                self.say(f"event {number}: {problem}: {json.dumps(event)[:160]}")
        for pid in sorted({pid for pid, _ in self.slices}):
            if pid not in self.names:
                self.say(f"process {pid} has no name")
        for name, times in collections.Counter(self.names.values()).items():
            if times > 1:
                self.say(f"{times} processes are called {name}")
        for track in self.slices:
            if track not in self.threads:
                self.say(f"track {track} has no name")
            self.nest(track)
        self.match_spans()
        self.match_arrows()
        self.count()

    # MARK: One event

    def take(self, event: Any) -> str | None:
        """What is wrong with the event by itself."""
        if not isinstance(event, dict):
            return "not an object"
        phase, pid, name = event.get("ph"), event.get("pid"), event.get("name")
        if phase not in ("M", "X", "b", "e", "s", "f") or not isinstance(name, str):
            return "of no kind that is known"
        if not isinstance(pid, int) or isinstance(pid, bool) or pid < 1:
            return "without a process"
        args = event.get("args", {})
        if not isinstance(args, dict) or not all(isinstance(value, (str, int)) for value in args.values()):
            return "args must be words and whole numbers"
        if phase == "M":
            return self.take_meta(event, pid, name, args)
        tid = event.get("tid")
        if not isinstance(tid, int) or isinstance(tid, bool) or tid < 0:
            return "without a track"
        if tid == pid:
            return "its track has its process's number: viewers take it for the main thread"
        begin = _nanoseconds(event.get("ts"))
        if begin is None:
            return "ts must be 0 or more"
        track = (pid, tid)
        if phase == "X":
            length = _nanoseconds(event.get("dur"))
            if length is None:
                return "dur must be 0 or more"
            self.slices[track].append((begin, begin + length, name))
            self.counted[name] += 1
            self.counted["slices"] += 1
            return self.sane(name, args)
        if phase in "be":
            id2 = event.get("id2")
            if not isinstance(id2, dict) or not isinstance(id2.get("local"), str):
                return "without id2.local"
            self.spans[(pid, event.get("cat"), id2["local"])].append((phase, begin))
            self.counted["slices"] += phase == "b"
            return None
        if not _is_count(event.get("id")):
            return "an arrow without a number"
        if phase == "f" and event.get("bp") != "e":
            return "an arrow's end that binds to the next slice"
        self.arrows[(event.get("cat"), name, event["id"])][phase].append((track, begin))
        return None

    def take_meta(self, event: Event, pid: int, name: str, args: dict[str, Any]) -> str | None:
        if name == "process_name":
            if pid in self.names:
                return "a second name of its process"
            if args.get("kind") not in ("gateway", "engine") or not args.get("name"):
                return "a process of no kind that is known"
            self.names[pid], self.kinds[pid] = str(args["name"]), args["kind"]
        elif name == "thread_name":
            track = (pid, event.get("tid", -1))
            if track in self.threads or not args.get("name"):
                return "a second name of its track, or none"
            self.threads.add(track)
        elif name not in ("process_sort_index", "thread_sort_index"):
            return "of no kind that is known"
        elif not _is_count(args.get("sort_index")):
            return "without its place"
        return None

    def sane(self, name: str, args: dict[str, Any]) -> str | None:
        if name not in PARENTS:
            return "a slice of no kind that is known"
        if name in ("request", "process"):
            if not args.get("req") or not isinstance(args["req"], str):
                return "without its request's id"
        if name == "request" and "status" not in args:
            return "without a status"
        if "status" in args:
            if not _is_count(args["status"]) or not (args["status"] == 0 or 100 <= args["status"] < 600):
                return "status must be of HTTP, or 0"
        if name == "request" and (not str(args.get("path", "")).startswith("/") or "hops" not in args):
            return "without path or hops"
        if name in ("local", "forward") and not args.get("to"):
            return "without the server it went to"
        if any(key in args and not _is_count(args[key]) for key in COUNTS):
            return "a count below 0"
        return None

    # MARK: All events

    def nest(self, track: Track) -> None:
        """Slices of one track lie in each other or apart."""
        kind = self.kinds.get(track[0])
        open_slices: list[tuple[int, int, str]] = []
        for begin, end, name in sorted(self.slices[track], key=_outer_first):
            parent, process_kind = PARENTS.get(name, (None, None))
            # What takes no time may lie in a slice at its very end.
            while open_slices and open_slices[-1][1] <= begin and not (
                    begin == end == open_slices[-1][1] and open_slices[-1][2] == parent):
                open_slices.pop()
            if open_slices and end > open_slices[-1][1]:
                self.say(f"track {track}: {name} at {begin / 1e3} us ends after the {open_slices[-1][2]} around it")
                continue
            around = open_slices[-1][2] if open_slices else None
            if around != parent:
                self.say(f"track {track}: {name} at {begin / 1e3} us lies in {around or 'nothing'}, "
                         f"not in {parent or 'nothing'}")
            if process_kind != kind:
                self.say(f"track {track}: {name} in a process of kind {kind}")
            open_slices.append((begin, end, name))

    def match_spans(self) -> None:
        for (pid, _, span), ends in self.spans.items():
            if [phase for phase, _ in ends] != ["b", "e"]:
                self.say(f"process {pid}: the span {span} is not one b and then one e")
            elif ends[0][1] > ends[1][1]:
                self.say(f"process {pid}: the span {span} ends before it begins")

    def match_arrows(self) -> None:
        bound: dict[Track, list[tuple[int, int, str]]] = {
            track: sorted(slices, key=_outer_first) for track, slices in self.slices.items()}
        wanted: dict[Track, list[tuple[int, str, int]]] = collections.defaultdict(list)
        for (_, _, number), ends in self.arrows.items():
            begins, heads = ends["s"], ends["f"]
            if len(begins) > 1 or len(heads) > 1 or (self.is_merged and (len(begins), len(heads)) != (1, 1)):
                self.say(f"the arrow {number} has {len(begins)} beginnings and {len(heads)} ends")
            if begins and heads and heads[0][1] < begins[0][1]:
                self.say(f"the arrow {number} arrives {(begins[0][1] - heads[0][1]) / 1e3} us before it was sent")
            for phase, places in ends.items():
                for track, at in places:
                    wanted[track].append((at, phase, number))
        for track, places in wanted.items():
            self.bind(track, sorted(places), bound.get(track, []))

    def bind(self, track: Track, places: list[tuple[int, str, int]], slices: list[tuple[int, int, str]]) -> None:
        """An arrow's end belongs to the innermost slice at its time."""
        open_slices: list[tuple[int, int, str]] = []
        following = 0
        for at, phase, number in places:
            while following < len(slices) and slices[following][0] <= at:
                open_slices.append(slices[following])
                following += 1
            open_slices = [slice for slice in open_slices if slice[1] >= at]
            around = open_slices[-1][2] if open_slices else None
            if around not in (ARROW_TAIL if phase == "s" else ARROW_HEAD):
                self.say(f"track {track}: an end ({phase}) of the arrow {number} lies in {around or 'nothing'}")

    def count(self) -> None:
        if not isinstance(self.other, dict):
            return self.say("no otherData")
        actual = {
            "slices": self.counted["slices"], "requests": self.counted["request"],
            "flow_starts": sum(len(ends["s"]) for ends in self.arrows.values()),
            "flow_ends": sum(len(ends["f"]) for ends in self.arrows.values()),
        }
        for key, value in actual.items():
            if self.other.get(key) != value:
                self.say(f"otherData says {self.other.get(key)} {key}; there are {value}")


def _outer_first(slice: tuple[int, int, str]) -> tuple[int, int]:
    """As Perfetto does: of two that begin together the longer one is the outer one; of two alike, the first."""
    return slice[0], slice[0] - slice[1]


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _nanoseconds(microseconds: Any) -> int | None:
    if isinstance(microseconds, bool) or not isinstance(microseconds, (int, float)):
        return None
    return round(microseconds * 1e3) if math.isfinite(microseconds) and microseconds >= 0 else None


def main(paths: list[str]) -> int:
    if not paths or any(path.startswith("-") for path in paths):
        print((__doc__ or "").strip(), file=sys.stderr)
        return 0 if paths in (["--help"], ["-h"]) else 2
    broken = False
    for path in paths:
        try:
            trace = load(path)
        except (OSError, ValueError) as error:
            print(f"{path}: {error}")
            broken = True
            continue
        for problem in (found := problems(trace)):
            print(f"{path}: {problem}")
        broken = broken or bool(found)
        if not found:
            print(f"{path}: sound, {len(trace['traceEvents'])} events")
    return int(broken)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
