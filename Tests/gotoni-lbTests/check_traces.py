"""Traces of several nodes, of the same requests."""

from __future__ import annotations

import collections
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import types
from typing import Any

import trace_check
import trace_check_self_test
from load import all_whole, converse, mostly
from nodes import mesh


BENCHMARK = pathlib.Path(__file__).resolve().parents[2] / "benchmark"


sys.path.insert(0, str(BENCHMARK))
import cluster_trace  # noqa: E402


def _run(*command: str) -> str:
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, (command, done.stdout, done.stderr)
    return done.stdout


def _flows(trace: dict[str, Any], phase: str) -> list[int]:
    return [event["id"] for event in trace["traceEvents"] if event["ph"] == phase]


def every_forward_is_an_arrow_from_one_trace_to_another() -> None:
    """Three nodes under load: as many arrows begin as end as requests were forwarded, each with a number of its own."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4")) as made:
        for node in made.nodes:
            assert node.post("/lb/trace/start")["status"] == "started"
        all_whole(converse(made.nodes, clients=16, turns=5, entry=mostly(0, 3)), 80)
        made.until_quiet()
        assert sum(node.get("/lb/trace/status")["request_count"] for node in made.nodes) == made.total("total_requests")
        traces = [node.post("/lb/trace/stop") for node in made.nodes]
        forwarded = made.total("requests_forwarded")
        facts = [trace["otherData"] for trace in traces]
        assert forwarded > 0 and sum(each["flow_starts"] for each in facts) == forwarded, (forwarded, facts)
        assert sum(each["flow_ends"] for each in facts) == forwarded, (forwarded, facts)
        for node, each in zip(made.nodes, facts):
            counts = node.counts()
            assert each["node_id"] == node.name and each["dropped_requests"] == 0, each
            assert each["flow_starts"] == counts["requests_forwarded"], (each, counts)
            assert each["flow_ends"] == counts["requests_from_peers"], (each, counts)
            assert each["requests"] == counts["total_requests"], (each, counts)
        begun = collections.Counter(id for trace in traces for id in _flows(trace, "s"))
        ended = collections.Counter(id for trace in traces for id in _flows(trace, "f"))
        assert begun == ended and set(begun.values()) == {1}, (begun - ended, ended - begun)
        # An arrow leads from one node to another one.
        for trace in traces:
            assert not set(_flows(trace, "s")) & set(_flows(trace, "f"))
        # What a viewer would drop in silence.
        for node, trace in zip(made.nodes, traces):
            assert not trace_check.problems(trace), (node.name, trace_check.problems(trace))


def without_a_trace_nothing_is_said_of_arrows() -> None:
    """A node that runs no trace sends no number, and one that runs none takes none amiss."""
    with mesh(2, "--max-concurrent", "1", engine=("--speed", "4")) as made:
        a, b = made.nodes
        b.post("/lb/trace/start")
        all_whole(converse([a], clients=4, turns=2, entry=lambda _: 0), 8)
        trace = b.post("/lb/trace/stop")["otherData"]
        forwarded = a.counts()["requests_forwarded"]
        assert forwarded > 0 and trace["flow_starts"] == trace["flow_ends"] == 0, trace
        a.post("/lb/trace/start")
        all_whole(converse([a], clients=4, turns=2, entry=lambda _: 0), 8)
        trace = a.post("/lb/trace/stop")["otherData"]
        assert trace["flow_starts"] == a.counts()["requests_forwarded"] - forwarded and trace["flow_ends"] == 0, trace



def a_cluster_is_one_file_that_accounts_for_all_time() -> None:
    """Started and stopped for all nodes at one time: sound, on one clock, and each request's parts make its time."""
    with mesh(3, "--max-concurrent", "4", engine=("--speed", "4")) as made:
        urls = [node.url for node in made.nodes]
        _run(str(BENCHMARK / "cluster_trace.py"), "start", *urls)
        all_whole(converse(made.nodes, clients=16, turns=5, entry=mostly(0, 3)), 80)
        made.until_quiet()
        forwarded = made.total("requests_forwarded")
        out = str(pathlib.Path(tempfile.mkdtemp()) / "trace.json.gz")
        summary = json.loads(_run(str(BENCHMARK / "cluster_trace.py"), "stop", *urls, "--out", out, "--json"))
    merged = trace_check.load(out)
    assert not trace_check.problems(merged), trace_check.problems(merged)[:5]
    assert merged["otherData"]["flow_starts"] == forwarded > 0, (merged["otherData"], summary)
    assert merged["otherData"]["dropped_flow_starts"] == merged["otherData"]["dropped_flow_ends"] == 0, summary
    # On one machine the clocks are one: the estimates of their offsets say how wrong they may be.
    assert all(0 < node["error_us"] < 50_000 for node in merged["otherData"]["nodes"]), summary
    found = json.loads(_run(str(BENCHMARK / "analyze_trace.py"), out, "--json"))
    overall = found["overall"]
    assert overall["requests"] == 80 and overall["forwarded"] > 0, overall
    parts = sum(part["mean_ms"] for part in overall["parts"].values())
    assert abs(parts - overall["total_ms"]["mean"]) < 0.01, overall


def a_broken_trace_is_found() -> None:
    missed = trace_check_self_test.missed()
    assert not missed, missed


def no_request_arrives_before_it_was_sent() -> None:
    """Whatever the estimates of the clocks, within their errors: after settling every arrow leads forward."""
    for seed in range(200):
        chance = random.Random(seed)
        truth = [chance.randrange(10**9) for _ in range(chance.randint(1, 5))]
        traces: list[Any] = []
        for base in truth:
            error = chance.uniform(50, 500)
            trace = types.SimpleNamespace(
                base_ns=base + round(chance.uniform(-error, error) * 1e3), error_us=error, starts={}, ends={}
            )
            trace.shifted = lambda own, trace=trace: own + trace.base_ns
            traces.append(trace)
        for flow in range(chance.randint(0, 200)):
            tail, head = chance.randrange(len(truth)), chance.randrange(len(truth))
            if tail != head:
                sent = 2 * 10**9 + chance.randrange(10**9)
                traces[tail].starts[flow] = sent - truth[tail]
                traces[head].ends[flow] = sent + chance.randint(5_000, 900_000) - truth[head]
        cluster_trace.settle(traces)
        for sender in traces:
            for receiver in traces:
                for flow in sender.starts.keys() & receiver.ends.keys():
                    assert receiver.shifted(receiver.ends[flow]) > sender.shifted(sender.starts[flow]), seed
