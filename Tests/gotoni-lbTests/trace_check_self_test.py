"""Traces broken on purpose: trace_check.py must refuse each, for its reason, and accept those that are sound."""
from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from trace_check import problems

Trace = dict[str, Any]
ARROW = {"id": 7, "cat": "flow", "name": "forward"}


def _meta(pid: int, tid: int, name: str, /, **args: Any) -> dict[str, Any]:
    return {"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args}


def _slice(name: str, pid: int, tid: int, ts: float, dur: float, **args: Any) -> dict[str, Any]:
    return {"ph": "X", "name": name, "cat": "req", "pid": pid, "tid": tid, "ts": ts, "dur": dur, "args": args}


def sound() -> Trace:
    """One request that waits at node a and is served by node b's engine; one refused in no time; one served at a."""
    asked: dict[str, Any] = {"path": "/v1/chat/completions", "status": 200}
    queue = {"name": "queue", "cat": "queue", "pid": 1, "tid": 1000, "id2": {"local": "0.0"}}
    events = [
        _meta(1, 0, "process_name", name="a", kind="gateway"),
        _meta(2, 0, "process_name", name="b", kind="gateway"),
        _meta(3, 0, "process_name", name="engine of a", kind="engine"),
        _meta(4, 0, "process_name", name="engine of b", kind="engine"),
        _meta(4, 0, "process_sort_index", sort_index=4),
        *(_meta(pid, 1000, "thread_name", name="slot 1") for pid in (1, 2, 3, 4)),
        _slice("request", 1, 1000, 0, 900.5, req="q1", hops=0, prompt_tokens=9, **asked),
        _slice("forward", 1, 1000, 100, 800.5, to="b", flow=7),
        {"ph": "s", **ARROW, "pid": 1, "tid": 1000, "ts": 101},
        {"ph": "b", **queue, "ts": 10, "args": {"req": "q1"}},
        {"ph": "e", **queue, "ts": 100},
        _slice("request", 2, 1000, 150, 700, req="q1", hops=1, flow=7, **asked),
        _slice("local", 2, 1000, 160, 690, to="local"),
        _slice("process", 4, 1000, 160, 690, req="q1", status=200),
        {"ph": "f", "bp": "e", **ARROW, "pid": 4, "tid": 1000, "ts": 161},
        _slice("prefill", 4, 1000, 162, 300),
        _slice("decode", 4, 1000, 462, 388),
        # Begins as the last one ends, and takes no time.
        _slice("request", 1, 1000, 900.5, 0, req="q2", hops=0, path="/v1/completions", status=503, error="full"),
        _slice("request", 1, 1000, 900.6, 49.9, req="q3", hops=0, **asked),
        _slice("local", 1, 1000, 950.5, 0, to="local"),
        _slice("process", 3, 1000, 950.5, 0, req="q3", status=0),
    ]
    other = {"requests": 4, "slices": 12, "flow_starts": 1, "flow_ends": 1, "nodes": [{}, {}]}
    return {"displayTimeUnit": "ms", "traceEvents": events, "otherData": other}


def _first(trace: Trace, name: str, phase: str = "X") -> dict[str, Any]:
    return next(event for event in trace["traceEvents"] if event["name"] == name and event["ph"] == phase)


def _set(name: str, phase: str = "X", /, **values: Any) -> Callable[[Trace], Any]:
    return lambda trace: _first(trace, name, phase).update(values)


def _argument(name: str, /, **values: Any) -> Callable[[Trace], Any]:
    return lambda trace: _first(trace, name)["args"].update(values)


def _without(name: str, phase: str = "X") -> Callable[[Trace], Any]:
    return lambda trace: trace["traceEvents"].remove(_first(trace, name, phase))


def _twice(name: str, phase: str = "X") -> Callable[[Trace], Any]:
    return lambda trace: trace["traceEvents"].append(copy.deepcopy(_first(trace, name, phase)))


def _other(**values: Any) -> Callable[[Trace], Any]:
    return lambda trace: trace["otherData"].update(values)


def _one_node(trace: Trace) -> None:
    """What node a has by itself: an arrow that only begins."""
    trace["traceEvents"] = [event for event in trace["traceEvents"] if event["pid"] in (1, 3)]
    trace["otherData"] = {"requests": 3, "slices": 7, "flow_starts": 1, "flow_ends": 0}


def _child_first(trace: Trace) -> None:
    """Both begin at 0: nothing but their order tells which is the outer one."""
    forward = _first(trace, "forward")
    forward.update(ts=0, dur=900.5)
    trace["traceEvents"].remove(forward)
    trace["traceEvents"].insert(0, forward)


def _in_the_main_thread(trace: Trace) -> None:
    for event in trace["traceEvents"]:
        if event["pid"] == 4 and event["tid"] == 1000:
            event["tid"] = 4


def _one_node_with_two_heads(trace: Trace) -> None:
    _twice("forward", "f")(trace)
    del trace["otherData"]["nodes"]


# What is done to a sound trace, and words of what must be found; none: it is still sound.
CASES: tuple[tuple[str, Callable[[Trace], Any], str], ...] = (
    ("nothing", lambda trace: None, ""),
    ("the trace of one node", _one_node, ""),
    ("slices that overlap", _set("forward", dur=900), "ends after the request around it"),
    ("a slice out of its parent", _set("decode", dur=390), "decode at 462.0 us ends after the process"),
    ("prefill and decode that overlap", _set("prefill", dur=310), "decode at 462.0 us ends after the prefill"),
    ("a child without its parent", _without("process"), "prefill at 162.0 us lies in nothing"),
    ("two requests on one track", _twice("request"), "request at 0.0 us lies in request"),
    ("a request in no time where another begins", lambda trace: trace["traceEvents"][-3].update(ts=900.5),
     "lies in request"),
    ("a child that is written before its parent", _child_first, "forward at 0.0 us lies in nothing"),
    ("a span that never ends", _without("queue", "e"), "not one b and then one e"),
    ("a span that never begins", _without("queue", "b"), "not one b and then one e"),
    ("a span that ends twice", _twice("queue", "e"), "not one b and then one e"),
    ("two spans of one number", lambda trace: (_twice("queue", "b")(trace), _twice("queue", "e")(trace)), "not one b and"),
    ("a span that ends too early", _set("queue", "e", ts=9), "ends before it begins"),
    ("a span without its number", _set("queue", "b", id2={}), "without id2.local"),
    ("an arrow without an end", _without("forward", "f"), "has 1 beginnings and 0 ends"),
    ("an arrow without a beginning", _without("forward", "s"), "has 0 beginnings and 1 ends"),
    ("an arrow with two ends", _twice("forward", "f"), "has 1 beginnings and 2 ends"),
    ("an arrow with two ends, of one node", _one_node_with_two_heads, "has 1 beginnings and 2 ends"),
    ("an arrow with two beginnings", _twice("forward", "s"), "has 2 beginnings and 1 ends"),
    ("a parent that ends first", _set("request", ts=0, dur=1), "forward at 100.0 us lies in nothing"),
    ("an arrow that arrives first", _set("forward", "s", ts=700), "arrives 539.0 us before it was sent"),
    ("an arrow that ends in prefill", _set("forward", "f", ts=170), "lies in prefill"),
    ("an arrow that ends outside", _set("forward", "f", ts=2000), "lies in nothing"),
    ("an arrow from the queue", _set("forward", "s", ts=50), "lies in request"),
    ("an arrow to the next slice", _set("forward", "f", bp="n"), "binds to the next slice"),
    ("an arrow without a number", _set("forward", "s", id=None), "without a number"),
    ("a time below 0", _set("request", ts=-1), "ts must be 0 or more"),
    ("a length below 0", _set("prefill", dur=-0.001), "dur must be 0 or more"),
    ("a length that is none", _set("prefill", dur=float("nan")), "dur must be 0 or more"),
    ("a length without end", _set("prefill", dur=float("inf")), "dur must be 0 or more"),
    ("no length", _set("prefill", dur=None), "dur must be 0 or more"),
    ("a time in words", _set("prefill", ts="162"), "ts must be 0 or more"),
    ("a track with its process's number", _in_the_main_thread, "take it for the main thread"),
    ("a process without a name", _without("process_name", "M"), "process 1 has no name"),
    ("a track without a name", _without("thread_name", "M"), "has no name"),
    ("a process named twice", _twice("process_name", "M"), "a second name of its process"),
    ("two processes of one name", lambda trace: trace["traceEvents"][1]["args"].update(name="a"),
     "2 processes are called a"),
    ("a process of no kind", lambda trace: trace["traceEvents"][0]["args"].update(kind="gpu"), "a process of no kind"),
    ("work of an engine in a gateway", lambda trace: trace["traceEvents"][3]["args"].update(kind="gateway"),
     "process in a process of kind gateway"),
    ("a slice unheard of", _set("prefill", name="think"), "a slice of no kind"),
    ("an event unheard of", _set("prefill", ph="B"), "of no kind that is known"),
    ("a request without its id", lambda trace: _first(trace, "request")["args"].pop("req"), "without its request's id"),
    ("a status that is none", _argument("request", status=7), "status must be of HTTP"),
    ("a path that is none", _argument("request", path="v1"), "without path or hops"),
    ("tokens below 0", _argument("request", prompt_tokens=-1), "a count below 0"),
    ("arguments in arguments", _argument("request", more={"deep": 1}), "args must be words"),
    ("an attempt to nowhere", _argument("forward", to=""), "without the server it went to"),
    ("an event that is none", lambda trace: trace["traceEvents"].append(7), "not an object"),
    ("a slice too few", _other(slices=13), "otherData says 13 slices; there are 12"),
    ("a request too many", _other(requests=3), "otherData says 3 requests; there are 4"),
    ("an arrow too few", _other(flow_starts=2), "otherData says 2 flow_starts; there are 1"),
    ("no account", lambda trace: trace.pop("otherData"), "no otherData"),
    ("no events", lambda trace: trace.pop("traceEvents"), "not a Chrome JSON object"),
)


def missed() -> list[str]:
    """Broken traces that were taken for sound ones, or for broken in another way."""
    result = []
    for what, change, words in CASES:
        trace = sound()
        change(trace)
        found = problems(trace)
        if not (any(words in problem for problem in found) if words else not found):
            result.append(f"{what}: wanted {words or 'nothing'}, found {found}")
    return result
