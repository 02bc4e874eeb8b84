"""What the figures rest on: python3 -m pytest benchmark/peers"""

from __future__ import annotations

import asyncio
import json
import math
import os
import pathlib
import sys
import time

import pytest

import bench
import checks
import client
import engine
import mocked
import mocker
import report
import routers
import stream
import traffic
from processes import Program, free_ports
from statistics_of import median, percentile
from wire import Reader, WireError

RESPONSE = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n5;x=y\r\nab\n\nc\r\n1\r\n\n\r\n0\r\n\r\n"
REQUEST = b"POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc"


@pytest.mark.parametrize("size", [1024, 65536])
@pytest.mark.parametrize("stream", [False, True])
def test_bodies_have_their_size_and_groups(size: int, stream: bool) -> None:
    bodies = traffic.bodies(size, 1, stream)
    assert bodies == traffic.bodies(size, 1, stream) != traffic.bodies(size, 2, stream)
    assert len(set(bodies)) == 48 and {len(body) for body in bodies} == {size}
    requests = [json.loads(body) for body in bodies]
    assert len({request["messages"][0]["content"] for request in requests}) == 8
    assert all(request["stream"] is stream for request in requests)


def test_answer_is_json_of_240_bytes() -> None:
    assert len(traffic.answer()) == 240
    assert json.loads(traffic.answer())["object"] == "chat.completion"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(("message", "body"), [(RESPONSE, b"ab\n\nc\n"), (REQUEST, b"abc")])
def test_reader_takes_messages_in_any_pieces(step: int, message: bytes, body: bytes) -> None:
    data = message * 3
    reader = Reader()
    found = [item for at in range(0, len(data), step) for item in reader.feed(data[at : at + step])]
    assert b"".join(value for kind, value in found if kind == "body") == body * 3
    assert [kind for kind, _ in found if kind != "body"] == ["head", "end"] * 3


def test_reader_refuses_responses_that_end_with_their_connection() -> None:
    with pytest.raises(WireError):
        Reader().feed(b"HTTP/1.1 200 OK\r\n\r\n")


def test_percentiles_are_nearest_ranks() -> None:
    assert percentile(range(1, 101), 50) == 50 and percentile(range(1, 101), 99) == 99
    assert percentile([3], 99) == 3 and math.isnan(percentile([], 50))
    assert median([3, 1, 2]) == 2 and median([4, 1, 2, 3]) == 2.5


def rounds(cell: str, peer: str, **figures: float) -> list[dict[str, object]]:
    return [{"round": n, "cell": cell, "peer": peer, "errors": 0, **figures} for n in range(3)]


def test_added_is_taken_within_each_round() -> None:
    direct = rounds("1k-c1", "direct", p50_us=100)
    ours = rounds("1k-c1", "gotoni", p50_us=150)
    for number, (one, other) in enumerate(zip(direct, ours)):
        one["p50_us"], other["p50_us"] = 100 * number, 100 * number + 10 * number
    ours[1]["errors"] = 2
    found = bench.summary(direct + ours)["1k-c1"]["gotoni"]
    assert found["added_p50_us"] == 10 and found["p50_us"] == 110 and found["errors"] == 2
    assert bench.errors(direct + ours) == {"direct": 0, "gotoni": 2}


def verdicts(summary: checks.Summary, errors: dict[str, int]) -> dict[str, bool]:
    return {check.name: check.passed for check in checks.all_checks(summary, errors, quick=False)}


def test_thresholds_pass_and_miss() -> None:
    def overhead(gotoni: float, added: float) -> checks.Summary:
        return {
            "1k-c1": {
                "gotoni": {"req_s": gotoni, "added_p50_us": added, "rss_mb": 40},
                "smg": {"req_s": 1000},
                "envoy": {"req_s": 1000},
                "haproxy": {"added_p50_us": 100},
            }
        }

    good = verdicts(overhead(2000, 160), {"gotoni": 0})
    assert good == {
        "gotoni: errors": True,
        "1k-c1: req/s over smg": True,
        "1k-c1: req/s over envoy": True,
        "1k-c1: added p50 us over haproxy": True,
        "RSS MB, largest of all cells": True,
    }
    bad = verdicts(overhead(1999, 161), {"gotoni": 1})
    assert [name for name, passed in bad.items() if passed] == ["1k-c1: req/s over envoy", "RSS MB, largest of all cells"]


def test_streams_are_compared_with_direct() -> None:
    def streams(p50: float, p99: float, merged: float, direct_p99: float = 25) -> checks.Summary:
        ours = {"added_ttft_p50_ms": p50, "added_ttft_p99_ms": p99, "merged": merged, "rss_mb": 10}
        return {"stream-4": {"gotoni": ours, "direct": {"merged": 1, "ttft_p99_ms": direct_p99}}}

    assert all(verdicts(streams(1, 3, 1), {}).values())
    missed = [name for name, passed in verdicts(streams(1.01, 3.01, 2), {}).items() if not passed]
    assert len(missed) == 3 and all(name.startswith("stream-4: ") for name in missed)
    assert sum(verdicts(streams(-99, -99, 0, direct_p99=26), {}).values()) == 4


def test_dynamos_engines_are_judged_by_requests_and_by_what_was_cached() -> None:
    def mocked_cells(gotoni: float, cached: float) -> checks.Summary:
        return {
            "mocker-c16": {"gotoni": {"req_s": gotoni, "rss_mb": 10}, "dynamo": {"req_s": 500}},
            "mocker-stream-4": {"gotoni": {"hit_share": cached, "rss_mb": 10}, "direct": {"hit_share": 0.25}},
        }

    assert all(verdicts(mocked_cells(450, 0.28), {}).values())
    missed = [name for name, passed in verdicts(mocked_cells(449, 0.27), {}).items() if not passed]
    assert missed == ["mocker-c16: req/s over dynamo", "mocker-stream-4: cached share over direct"]


def test_no_ratio_is_no_pass() -> None:
    assert not checks.compared("x", 1, 0, most=1.6).passed
    assert not checks.compared("x", math.nan, 1, least=1).passed


def test_a_quick_run_judges_errors_only() -> None:
    summary: checks.Summary = {"1k-c1": {"gotoni": {"req_s": 1, "rss_mb": 99}, "smg": {"req_s": 1}}}
    found = checks.all_checks(summary, {"smg": 1}, quick=True)
    assert [check.judged for check in found] == [True, False, False]


def test_columns_are_aligned() -> None:
    lines = report.table(["router", "req/s"], [["a", "1,000"], ["longer name", "2"]], texts=1).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[3] == "| longer name |     2 |"


def test_fields_take_their_place_in_bodies_of_the_same_size() -> None:
    bodies = traffic.bodies(4096, "1-2-gotoni", True, traffic.WITH_USAGE, groups=3)
    assert len(set(bodies)) == 3 * traffic.BODIES_PER_GROUP and {len(body) for body in bodies} == {4096}
    requests = [json.loads(body) for body in bodies]
    assert all(request["max_tokens"] == traffic.STREAM_TOKENS and request["stream"] for request in requests)
    assert all(request["stream_options"] == {"include_usage": True} for request in requests)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"object":"chat.completion","usage":{"completion_tokens":2}}'])
def test_what_is_no_completion_of_one_token_is_no_right_answer(text: str) -> None:
    assert not traffic.has_one_token(text.encode())
    assert traffic.has_one_token(b'{"object":"chat.completion","usage":{"completion_tokens":1}}')


class Wire(asyncio.Transport):
    """Where a stream's requests go in these tests."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.ended = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = True


def event(content: str | None, usage: dict[str, object] | None = None) -> bytes:
    choices = [{"delta": {"content": content}}] if content is not None else []
    return b"data: " + json.dumps({"choices": choices, "usage": usage}).encode() + b"\n\n"


def read_of(events: list[bytes], step: int) -> mocked.Record:
    """What the client makes of two answers with these events, read in pieces of `step` bytes."""
    record = mocked.Record(tokens=2)
    mock = mocked.Mocked(record, [b"request"] * 2, asyncio.new_event_loop().create_future())
    wire = Wire()
    mock.connection_made(wire)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = head + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in events) + b"0\r\n\r\n"
    for at in range(0, len(answer), step):
        mock.data_received(answer[at : at + step])
    assert wire.ended == bool(record.errors) and len(wire.written) == 1 + (not record.errors)
    return record


USAGE: dict[str, object] = {
    "prompt_tokens": 100,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 64},
}


@pytest.mark.parametrize("step", [1, 7, 10_000])
def test_tokens_and_what_was_cached_are_counted_in_any_pieces(step: int) -> None:
    record = read_of([event("a"), event(" b"), event(None, USAGE), b"data: [DONE]\n\n"], step)
    assert (record.chunks, len(record.first), len(record.whole), record.errors) == (2, 1, 1, [])
    assert mocked.figures(record)["hit_share"] == 0.64


def test_an_answer_with_a_token_too_few_is_an_error() -> None:
    for usage in (None, {**USAGE, "completion_tokens": 1}):
        assert len(read_of([event("a"), event(None, usage), b"data: [DONE]\n\n"], 10_000).errors) == 1


def register(folder: pathlib.Path, worker: str, kinds: tuple[str, ...] = ("instances", "mdc")) -> None:
    for kind in kinds:
        (folder / "v1" / kind).mkdir(parents=True, exist_ok=True)
        (folder / "v1" / kind / f"peers%2Fbackend%2Fgenerate%2F{worker}").write_text(worker)


def test_a_worker_counts_once_it_has_an_endpoint_and_a_card(tmp_path: pathlib.Path) -> None:
    register(tmp_path, "aa")
    register(tmp_path, "bb", ("instances",))
    program = Program("sleep", ["sleep", "60"], tmp_path / "log")
    try:
        assert mocker.wait_for_workers(program, tmp_path, 1) == ["aa"]
        register(tmp_path, "bb")
        assert mocker.wait_for_workers(program, tmp_path, 2) == ["aa", "bb"]
    finally:
        program.stop()


def test_a_folder_of_one_worker_has_its_files_alone_and_their_signs_of_life(tmp_path: pathlib.Path) -> None:
    register(tmp_path / "all", "aa")
    register(tmp_path / "all", "bb")
    own = mocker.only("aa", tmp_path / "all", tmp_path / "own")
    found = [path for path in own.rglob("*") if path.is_file()]
    assert len(found) == 2 and all(path.name.endswith("%2Faa") and not path.is_symlink() for path in found)
    for path in (tmp_path / "all").rglob("*%2Faa"):
        os.utime(path, (1, 1))
    assert all(path.stat().st_mtime == 1 for path in found)


def test_who_is_refused_stands_in_the_table_and_is_no_error() -> None:
    text = report.cell_table({"direct": {"req_s": 2, "errors": 0}}, report.MOCKER, {"vllm-router": "unknown field"})
    lines = text.splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[-1].startswith("| vllm-router | refused by the server: 400 |")


@pytest.mark.parametrize(
    ("words", "error"),
    [
        (["--peers", "dynamo", "--cells", "1k-c1"], "dynamo routes to its own workers only"),
        (["--peers", "dynamo,nobody"], "nobody is none of"),
        (["--cells", "mocker-c2"], "mocker-c2 is none of"),
    ],
)
def test_a_wrong_choice_is_one_sentence_and_status_2(
    words: list[str], error: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench.py", "--out", "x", *words])
    with pytest.raises(SystemExit) as ended:
        bench.parse_arguments()
    assert ended.value.code == 2 and error in capsys.readouterr().err


def test_the_mocker_is_visited_by_default_only_if_dynamo_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def fleets(*words: str) -> set[str]:
        monkeypatch.setattr(sys, "argv", ["bench.py", "--out", "x", *words])
        return {cell.fleet for cell in bench.parse_arguments().cells}

    assert fleets() == {"nginx", "engine", "mocker"}
    assert fleets("--peers", "smg,envoy") == {"nginx", "engine"}
    assert fleets("--peers", "smg", "--cells", "mocker-c1") == {"mocker"}


HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"


def in_chunks(events: list[bytes]) -> bytes:
    return HEAD + b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in events) + b"0\r\n\r\n"


def chunks_of_engine() -> list[bytes]:
    now = time.monotonic_ns()
    return [b'data: {"choices":[{"delta":{"content":"%d %d 0"}}]}\n\n' % (n, now) for n in range(engine.CHUNKS)]


def played(record: stream.Record, kind: type[stream.Stream], answers: list[bytes]) -> list[str]:
    """The errors of a stream with two requests, to a server that has these answers and then closes the connection."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for answer in answers:
            await reader.readexactly(len(b"request"))
            writer.write(answer)
        await writer.drain()
        writer.close()

    async def play() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            await asyncio.wait_for(stream.one(kind, record, port, [b"request"] * 2, 0), 10)

    asyncio.run(play())
    return record.errors


def test_a_stream_that_breaks_in_its_last_answer_is_an_error() -> None:
    whole = in_chunks(chunks_of_engine())
    assert played(stream.Record(), stream.Stream, [whole, whole]) == []
    for rest in (b"", whole[:20], whole[: len(whole) // 2], whole[:-1]):
        errors = played(stream.Record(), stream.Stream, [whole, rest])
        assert len(errors) == 1 and "0 requests to go" in errors[0]
    assert len(played(stream.Record(), stream.Stream, [whole[:20]])) == 1


def test_a_wrong_answer_is_one_error() -> None:
    whole = in_chunks(chunks_of_engine())
    assert len(played(stream.Record(), stream.Stream, [whole, in_chunks(chunks_of_engine()[1:])])) == 1
    assert len(played(stream.Record(), stream.Stream, [whole.replace(b" 200 ", b" 503 "), whole])) == 1


def test_what_goes_wrong_while_an_answer_is_read_is_an_error() -> None:
    good = in_chunks([event("a"), event("b"), event(None, USAGE), b"data: [DONE]\n\n"])
    assert played(mocked.Record(tokens=2), mocked.Mocked, [good, good]) == []
    for wrong in (b"data: {no json\n\n", b'data: {"choices":[{}]}\n\n'):
        errors = played(mocked.Record(tokens=2), mocked.Mocked, [good, in_chunks([wrong])])
        assert len(errors) == 1 and "Error" in errors[0]


def test_routers_have_all_servers_however_many(tmp_path: pathlib.Path) -> None:
    urls = [f"http://127.0.0.1:{port}" for port in range(20001, 20031)]
    setting = routers.Setting(20000, urls, None, tmp_path, tmp_path, pathlib.Path("gotoni-proxy"), 1, [])
    words = [str(word) for word in routers.gotoni(setting)]
    named = [word.partition("=") for word in words if "=http" in word]
    assert [url for _, _, url in named] == urls and len({name for name, _, _ in named}) == len(urls)
    routers.haproxy(setting)
    lines = [line.split() for line in (tmp_path / "haproxy-20000.cfg").read_text().splitlines() if "server s" in line]
    assert [f"http://{words[2]}" for words in lines] == urls and len({words[1] for words in lines}) == len(urls)


def is_running(pid: int) -> bool:
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.parametrize("at_term", ["exit", ""])
def test_the_end_of_a_program_is_the_end_of_its_children(at_term: str, tmp_path: pathlib.Path) -> None:
    """Whether it ends itself on SIGTERM and leaves a child behind, or has to be killed."""
    script = f"trap '{at_term}' TERM; sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' & while :; do wait; done"
    program = Program("sh", ["sh", "-c", script], tmp_path / "log")
    deadline = time.monotonic() + 10
    try:
        while not (text := program.log.read_text()).endswith("\n") and time.monotonic() < deadline:
            time.sleep(0.01)
        child = int(text)
        assert is_running(child)
    finally:
        program.stop()
    assert program.process.returncode is not None
    while is_running(child) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not is_running(child)


def test_a_program_that_has_ended_can_be_stopped(tmp_path: pathlib.Path) -> None:
    program = Program("true", ["true"], tmp_path / "log")
    program.process.wait(10)
    program.stop()
    program.stop()


def test_no_proxy_of_the_environment_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody, port = free_ports(2)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{nobody}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        writer.close()

    async def ask() -> bytes:
        async with await asyncio.start_server(answer, "127.0.0.1", port):
            return await asyncio.to_thread(client.fetch, f"http://127.0.0.1:{port}/", 5)

    assert asyncio.run(ask()) == b"ok"
