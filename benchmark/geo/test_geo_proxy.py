"""geo_proxy.py in front of simulated engines and of nodes that break: python3 -m pytest benchmark/geo"""

from __future__ import annotations

import contextlib
import gzip
import http.client
import json
import pathlib
import random
import signal
import ssl
import subprocess
import sys
from typing import Any, Callable, Iterator

import pytest

from geo_world import (
    ENGINE,
    HERE,
    LIBRARY,
    TOKENIZER_LIBRARY,
    Engines,
    OpenStream,
    Proxy,
    ShowingNode,
    chat,
    engines,
    free_ports,
    get,
    in_two_parts,
    nodes_at,
    post,
    proxy,
    showing_node,
    wait_until,
)
from keys import prompt_key
from places import place_of
from prompts import CHAT, COMPLETIONS

ISRAEL, CALIFORNIA = "Good morning from Haifa.", "Good evening from Oakland."
PLACES = {
    prompt_key(text): place.fields()
    for text, place in ((ISRAEL, place_of("Israel", None)), (CALIFORNIA, place_of("United States", "California")))
    if place is not None
}
KEYS = [
    "timestamp", "request_id", "prompt_hash", "prompt_length", "user_location", "routed_to", "node_ip", "distance_km",
    "ttft_ms", "total_latency_ms", "status", "error", "router", "cost_ms", "matched_tokens", "prompt_tokens",
    "cached_tokens", "user_rtt_ms", "new_connection",
]  # fmt: skip

needs_library = pytest.mark.skipif(not LIBRARY.exists(), reason=f"there is no {LIBRARY}: make library")


def text_of_length(tokens: int, seed: int) -> str:
    """Like no other; four bytes are a token."""
    return random.Random(seed).randbytes(2 * tokens).hex()


def a_token_for_each_byte() -> dict[str, Any]:
    """A tokenizer.json of the smallest byte-level BPE, in GPT-2's alphabet of bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [*map(chr, plain), *(chr(256 + number) for number in range(256 - len(plain)))]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": [], "normalizer": None,
        "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "merges": [],
                  "vocab": {letter: id for id, letter in enumerate(letters)}},
    }  # fmt: skip


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engines]:
    if not ENGINE.exists():
        pytest.skip(f"there is no {ENGINE}: build it, or name one in GOTONI_ENGINE")
    with engines(tmp_path_factory.mktemp("engines")) as made:
        yield made


@pytest.fixture(scope="module")
def near(three: Engines, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Proxy]:
    with proxy(tmp_path_factory.mktemp("near"), three.nodes, "--node-timeout", 8, places=PLACES) as made:
        yield made


@pytest.fixture(scope="module")
def only(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ShowingNode, Proxy]]:
    with showing_node() as node, proxy(tmp_path_factory.mktemp("only"), nodes_at({"gpu-2": node.url})) as front:
        yield node, front


@pytest.fixture
def shown(only: tuple[ShowingNode, Proxy]) -> tuple[ShowingNode, Proxy]:
    """A node that shows what it gets, behind a proxy, as if nothing had been asked but in the log."""
    node, front = only
    node.begin_anew()
    post(front.port, "/stats/reset")
    return only


Streams = Callable[[int, dict[str, Any]], OpenStream]


@pytest.fixture
def open_stream() -> Iterator[Streams]:
    """Opens streams, at a port with a body, that are closed when the test ends."""
    with contextlib.ExitStack() as opened:
        yield lambda port, body: opened.enter_context(contextlib.closing(OpenStream(port, body)))


def routed(where: Proxy, *texts: str, **more: Any) -> dict[str, Any]:
    """The log's line of a chat that has ended well."""
    status, headers, answer = post(where.port, CHAT, chat(*texts, **more))
    assert status == 200, answer
    return where.line(headers["x-request-id"])


# ===== Choosing


def test_nearest_node_gets_the_request_and_the_log_says_all_about_it(near: Proxy) -> None:
    line = routed(near, ISRAEL)
    assert list(line) == KEYS
    assert line["routed_to"] == "gpu-2" and line["user_location"]["country"] == "Israel"
    assert line["prompt_hash"] == prompt_key(ISRAEL) and line["prompt_length"] == len(ISRAEL)
    assert line["status"] == 200 and line["error"] is None and line["router"] == "nearest"
    assert 0 < line["ttft_ms"] <= line["total_latency_ms"] and line["cached_tokens"] == 0
    assert line["cost_ms"] is None and line["matched_tokens"] is None
    assert line["user_rtt_ms"] == pytest.approx(5 + 15 * line["distance_km"] / 1000, abs=0.01)
    assert routed(near, CALIFORNIA)["routed_to"] == "west_coast"


def test_users_that_nobody_knows_are_at_the_default_place(near: Proxy) -> None:
    post(near.port, "/stats/reset")
    line = routed(near, "Where am I?")
    assert line["routed_to"] == "west_coast" and line["distance_km"] == 2072.3
    routed(near, ISRAEL)
    stats = get(near.port, "/stats")
    assert (stats["lookups_found"], stats["lookups_missed"]) == (1, 1)


@needs_library
def test_prefix_on_the_far_side_is_worth_the_way_only_if_its_prefill_takes_longer(
    three: Engines, tmp_path: pathlib.Path
) -> None:
    long, short = text_of_length(8000, 1), text_of_length(200, 2)  # 752 and 19 ms; the way is 180 ms longer
    with proxy(tmp_path, three.nodes, "--router", "gotoni", "--ms-per-token", 0.094, places=PLACES) as front:
        first = routed(front, long, CALIFORNIA)
        assert first["routed_to"] == "west_coast" and first["matched_tokens"] == 0
        second = routed(front, long, ISRAEL)
        assert second["routed_to"] == "west_coast"
        assert second["matched_tokens"] >= 7900 and second["cached_tokens"] >= 7900
        assert second["user_rtt_ms"] < second["cost_ms"] < second["user_rtt_ms"] + 20
        assert routed(front, short, CALIFORNIA)["routed_to"] == "west_coast"
        assert routed(front, short, ISRAEL)["routed_to"] == "gpu-2"
        # What was forgotten draws nobody any more, and the engine at home has to prefill.
        assert b"forgotten" in post(front.port, "/cache/clear")[2]
        assert routed(front, long, ISRAEL)["routed_to"] == "gpu-2"
        stats = get(front.port, "/stats")
        assert stats["router"] == "gotoni" and stats["requests"] == 5 and stats["errors"] == 0
        assert 0.3 < stats["hit_share"] < 0.5
        assert stats["nodes"]["west_coast"]["matched_tokens"] == second["matched_tokens"]
        counters = stats["router_counters"]
        assert counters["finished_ok"] == counters["parity_reports"] == 5 and counters["open_tickets"] == 0
        assert counters["reported_cached_tokens"] == sum(line["cached_tokens"] for line in front.lines())


@needs_library
def test_prefix_on_the_far_side_is_worth_nothing_where_prefill_is_quick(three: Engines, tmp_path: pathlib.Path) -> None:
    long = text_of_length(2000, 3)
    with proxy(tmp_path, three.nodes, "--router", "gotoni", "--ms-per-token", 0.001, places=PLACES) as front:
        assert routed(front, long, CALIFORNIA)["routed_to"] == "west_coast"
        assert routed(front, long, ISRAEL)["routed_to"] == "gpu-2"


@pytest.mark.skipif(not TOKENIZER_LIBRARY.exists(), reason=f"there is no {TOKENIZER_LIBRARY}: make tokenizer")
@pytest.mark.parametrize(
    ("router", "tokens"),
    [
        ("nearest", 3),  # chooses without them, so four bytes are one
        pytest.param("gotoni", 12, marks=needs_library),
    ],
)
def test_model_s_own_tokens_are_counted_if_there_is_a_tokenizer_and_the_choice_depends_on_them(
    router: str, tokens: int, shown: tuple[ShowingNode, Proxy], tmp_path: pathlib.Path
) -> None:
    node, _ = shown
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps(a_token_for_each_byte()))
    nodes = nodes_at({"gpu-2": node.url})
    with proxy(tmp_path, nodes, "--router", router, "--tokenizer", path) as front:
        line = routed(front, "héllo")
        # And what stands before the role and the text.
        assert len("_user_héllo".encode()) == 12 and line["prompt_tokens"] == tokens


@needs_library
def test_work_under_way_sends_the_next_request_elsewhere(tmp_path: pathlib.Path, open_stream: Streams) -> None:
    with showing_node() as home, showing_node() as away:
        home.answer = in_two_parts
        nodes = nodes_at({"gpu-2": home.url, "west_coast": away.url})
        with proxy(tmp_path, nodes, "--router", "gotoni", places=PLACES) as front:
            stream = open_stream(front.port, chat(text_of_length(20_000, 4), ISRAEL, stream=True))
            stream.read_until(b"first")
            assert routed(front, text_of_length(20_000, 5), ISRAEL)["routed_to"] == "west_coast"
            assert get(front.port, "/stats")["nodes"]["gpu-2"]["in_flight"] == 1
            home.go_on.set()
            stream.read_until(b"second")
            front.line(stream.id)
            assert get(front.port, "/stats")["nodes"]["gpu-2"]["in_flight"] == 0
            assert routed(front, text_of_length(20_000, 6), ISRAEL)["routed_to"] == "gpu-2"


# ===== Passing on


def test_connections_are_kept(near: Proxy) -> None:
    routed(near, ISRAEL)
    post(near.port, "/stats/reset")
    assert [routed(near, ISRAEL)["new_connection"] for _ in range(5)] == [False] * 5
    assert get(near.port, "/stats")["nodes"]["gpu-2"]["connections_opened"] == 0


def test_stream_comes_through_byte_for_byte_with_its_usage(near: Proxy, three: Engines) -> None:
    body = chat(ISRAEL, stream=True, stream_options={"include_usage": True}, max_tokens=5)
    status, headers, through = post(near.port, CHAT, body)
    direct = post(three.ports["gpu-2"], CHAT, body)[2]
    assert status == 200 and headers["content-type"] == "text/event-stream; charset=utf-8"

    def said(stream: bytes) -> list[Any]:
        events = [json.loads(line[6:]) for line in stream.splitlines() if line.startswith(b"data: {")]
        return [each["choices"] for each in events]

    assert said(through) == said(direct) and through.endswith(b"data: [DONE]\n\n")
    assert near.line(headers["x-request-id"])["cached_tokens"] is not None


def test_chunk_is_with_the_client_before_the_next_one_is_made(
    shown: tuple[ShowingNode, Proxy], open_stream: Streams
) -> None:
    node, front = shown
    node.answer = in_two_parts
    stream = open_stream(front.port, chat("x", stream=True))
    stream.read_until(b"first")
    assert b"second" not in stream.received
    node.go_on.set()
    stream.read_until(b"0\r\n\r\n")
    assert stream.received.count(b"HTTP/1.1 ") == 1 and b"data: second\n\n" in stream.received


def test_headers_and_body_reach_the_node_and_those_of_the_connection_do_not(shown: tuple[ShowingNode, Proxy]) -> None:
    body = b' {"messages" : [{"role":"user","content":"\\u00e9"}]}\n'
    sent = {"Authorization": "Bearer k", "X-Mine": "1", "Content-Type": "application/json; charset=utf-8",
            "Connection": "keep-alive, X-Hop", "X-Hop": "1", "TE": "trailers", "X-Request-ID": "mine-1"}  # fmt: skip
    node, front = shown
    status, headers, _ = post(front.port, f"{CHAT}?a=%20b", body, sent)
    assert status == 200 and headers["x-request-id"] == "mine-1"
    path, seen, received = node.seen[0]
    assert path == f"{CHAT}?a=%20b" and received == body
    got = {name.lower(): value for name, value in seen}
    assert got["authorization"] == "Bearer k" and got["x-mine"] == "1" and got["x-request-id"] == "mine-1"
    assert got["content-type"] == "application/json; charset=utf-8"
    assert got["host"] == f"127.0.0.1:{node.server_port}" and not {"x-hop", "te", "user-agent"} & set(got)
    assert front.line("mine-1")["status"] == 200
    _, headers, _ = post(front.port, COMPLETIONS, {"prompt": "x"})
    assert dict(node.seen[1][1])["X-Request-ID"] == headers["x-request-id"] != "mine-1"


def test_models_are_asked_for_with_the_client_s_headers_and_come_with_the_node_s(
    shown: tuple[ShowingNode, Proxy],
) -> None:
    node, front = shown
    models = gzip.compress(b'{"data": []}')
    node.answer = lambda handler: handler.say(200, models, ("Content-Encoding", "gzip"), ("X-Of-Node", "1"))
    sent = {"Authorization": "Bearer k", "Accept-Encoding": "gzip", "Connection": "X-Hop", "X-Hop": "1"}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)) as connection:
        connection.request("GET", "/v1/models", headers=sent)
        answer = connection.getresponse()
        assert answer.read() == models and answer.headers["Content-Encoding"] == "gzip"
        assert answer.headers["X-Of-Node"] == "1"
    path, seen, _ = node.seen[0]
    got = {name.lower(): value for name, value in seen}
    assert path == "/v1/models" and got["authorization"] == "Bearer k" and got["accept-encoding"] == "gzip"
    assert got["host"] == f"127.0.0.1:{node.server_port}" and "x-hop" not in got


def test_conversation_in_a_prompt_reaches_the_node_as_messages(shown: tuple[ShowingNode, Proxy]) -> None:
    talk = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"}]
    node, front = shown
    post(front.port, CHAT, chat(json.dumps(talk), temperature=0))
    assert json.loads(node.seen[0][2]) == {"model": "simulated", "messages": talk, "max_tokens": 2, "temperature": 0}


def test_status_headers_and_packed_bytes_of_the_node_reach_the_client(shown: tuple[ShowingNode, Proxy]) -> None:
    packed = gzip.compress(b'{"error": "slow down"}')
    node, front = shown
    node.answer = lambda handler: handler.say(
        429, packed, ("Retry-After", "7"), ("Content-Encoding", "gzip"), ("Keep-Alive", "timeout=9")
    )
    status, headers, body = post(front.port, CHAT, chat("x"))
    assert status == 429 and body == packed
    assert headers["retry-after"] == "7" and headers["content-encoding"] == "gzip" and "keep-alive" not in headers
    line = front.line(headers["x-request-id"])
    assert line["status"] == 429 and line["error"] == "the node answered 429"
    assert get(front.port, "/stats")["errors"] == 1


# ===== What goes wrong


def error_of(answer: tuple[int, dict[str, str], bytes]) -> tuple[int, str]:
    """Status and message of an error as OpenAI's API has it."""
    status, headers, body = answer
    assert headers["content-type"].startswith("application/json")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return status, error["message"]


def test_node_that_breaks_off_breaks_the_connection_and_answers_once(
    near: Proxy, three: Engines, open_stream: Streams
) -> None:
    post(three.ports["gpu-2"], "/fault", {"cut_after_chunks": 3, "count": 1})
    stream = open_stream(near.port, chat(ISRAEL, stream=True, max_tokens=50))
    received = stream.read_to_end()
    assert received.count(b"HTTP/1.1 ") == 1 and received.startswith(b"HTTP/1.1 200")
    assert b"data: " in received and b"[DONE]" not in received and not received.endswith(b"0\r\n\r\n")
    line = near.line(stream.id)
    assert line["status"] == 200 and "broke off" in line["error"]
    assert routed(near, ISRAEL)["error"] is None


def test_node_that_closes_without_a_word_is_a_502(shown: tuple[ShowingNode, Proxy]) -> None:
    node, front = shown

    def close(handler: Any) -> None:
        handler.close_connection = True

    node.answer = close
    status, message = error_of(post(front.port, CHAT, chat("x")))
    assert status == 502 and "broke off" in message


@pytest.mark.parametrize("router", ["nearest", pytest.param("gotoni", marks=needs_library)])
def test_dead_node_is_a_502_and_models_come_from_another(router: str, three: Engines, tmp_path: pathlib.Path) -> None:
    dead = nodes_at({"gpu-2": f"http://127.0.0.1:{free_ports(1)[0]}"})
    with proxy(tmp_path, [*dead, *three.nodes[1:]], "--router", router, places=PLACES) as front:
        assert get(front.port, "/v1/models")["data"][0]["id"] == "simulated"
        answer = post(front.port, CHAT, chat(ISRAEL))
        status, message = error_of(answer)
        assert status == 502 and "gpu-2" in message and "cannot be reached" in message
        assert front.line(answer[1]["x-request-id"])["status"] == 502
        stats = get(front.port, "/stats")
        assert stats["errors"] == 1 and stats["in_flight"] == 0
        if router == "gotoni":
            assert stats["router_counters"]["finished_not_sent"] == 1 and stats["router_counters"]["open_tickets"] == 0
        assert error_of(post(front.port, CHAT, chat(ISRAEL)))[0] == 502


def test_node_that_does_not_answer_is_a_504(tmp_path: pathlib.Path) -> None:
    with showing_node() as node, proxy(tmp_path, nodes_at({"gpu-2": node.url}), "--node-timeout", 0.2) as front:
        node.answer = lambda handler: handler.server.go_on.wait(8)
        answer = post(front.port, CHAT, chat("x"))
        status, message = error_of(answer)
        assert status == 504 and "0.2 s" in message
        assert front.line(answer[1]["x-request-id"])["status"] == 504


@pytest.mark.parametrize("router", ["nearest", pytest.param("gotoni", marks=needs_library)])
def test_client_that_leaves_ends_its_request_at_the_node(
    router: str, three: Engines, tmp_path: pathlib.Path, open_stream: Streams
) -> None:
    with proxy(tmp_path, three.nodes, "--router", router, places=PLACES) as front:
        stream = open_stream(front.port, chat(ISRAEL, stream=True, max_tokens=100_000))
        stream.read_until(b"data: ")
        wait_until(lambda: three.running("gpu-2") == 1, "the engine works")
        stream.close()
        wait_until(lambda: three.running("gpu-2") == 0, "the engine works no more")
        line = front.line(stream.id)
        assert line["error"] == "the client went away" and line["status"] == 200
        stats = get(front.port, "/stats")
        assert stats["cancelled"] == 1 and stats["errors"] == 0 and stats["in_flight"] == 0
        if router == "gotoni":
            assert stats["router_counters"]["finished_cancelled"] == 1


def test_client_that_leaves_before_the_answer_ends_its_request_at_the_node(
    shown: tuple[ShowingNode, Proxy], open_stream: Streams
) -> None:
    node, front = shown
    ended: list[bytes] = []
    node.answer = lambda handler: ended.append(handler.rfile.read(1))  # nothing, when the connection ends
    stream = open_stream(front.port, chat("x"))
    wait_until(lambda: node.seen, "the node has the request")
    stream.close()
    wait_until(lambda: ended == [b""], "the node sees it end")
    assert front.line(stream.id)["status"] == 499 and get(front.port, "/stats")["cancelled"] == 1


def test_bodies_that_are_no_requests_are_refused(near: Proxy) -> None:
    assert error_of(post(near.port, CHAT, b"{"))[0] == 400
    assert error_of(post(near.port, CHAT, b"[]"))[0] == 400
    assert error_of(post(near.port, "/v1/nothing"))[0] == 404


def test_more_requests_than_wanted_are_refused(tmp_path: pathlib.Path, open_stream: Streams) -> None:
    with showing_node() as node, proxy(tmp_path, nodes_at({"gpu-2": node.url}), "--max-requests", 1) as front:
        node.answer = in_two_parts
        stream = open_stream(front.port, chat("x", stream=True))
        stream.read_until(b"first")
        answer = post(front.port, CHAT, chat("x"))
        assert error_of(answer)[0] == 503 and answer[1]["retry-after"] == "1"
        node.go_on.set()
        stream.read_until(b"0\r\n\r\n")
        front.line(stream.id)
        assert post(front.port, CHAT, chat("x"))[0] == 200


# ===== https


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, ssl.SSLContext]:
    folder = tmp_path_factory.mktemp("certificate")
    key, made = folder / "key.pem", folder / "certificate.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
               "-days", "2", "-subj", "/CN=geo", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out",
               str(made)]  # fmt: skip
    subprocess.run(command, check=True, capture_output=True, timeout=20)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made, key)
    return made, context


def test_https_node_is_used_if_its_authority_is_trusted_and_else_refused(
    certificate: tuple[pathlib.Path, ssl.SSLContext], tmp_path: pathlib.Path
) -> None:
    path, context = certificate
    (tmp_path / "other").mkdir()
    with showing_node(context) as node:
        nodes = nodes_at({"gpu-2": node.url})
        assert nodes[0]["url"].startswith("https://")
        with proxy(tmp_path, nodes, "--ca", path) as front:
            assert post(front.port, CHAT, chat("x"))[0] == 200
        with proxy(tmp_path / "other", nodes) as front:
            status, message = error_of(post(front.port, CHAT, chat("x")))
            assert status == 502 and "certificate" in message
        assert len(node.seen) == 1


# ===== Beginning and end


def test_health_and_models(near: Proxy, three: Engines) -> None:
    health = get(near.port, "/health")
    assert list(health) == ["status", "request_count", "active_requests", "node_stats", "lookup_size"]
    assert health["status"] == "healthy" and health["lookup_size"] == 2
    assert list(health["node_stats"]) == list(three.ports)
    assert get(near.port, "/v1/models")["data"][0]["id"] == "simulated"
    assert post(near.port, "/cache/clear")[0] == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_request_under_way_ends_well_when_the_proxy_is_told_to_stop(
    number: int, tmp_path: pathlib.Path, open_stream: Streams
) -> None:
    with showing_node() as node, proxy(tmp_path, nodes_at({"gpu-2": node.url})) as front:
        node.answer = in_two_parts
        stream = open_stream(front.port, chat("x", stream=True))
        stream.read_until(b"first")
        front.program.process.send_signal(number)
        wait_until(lambda: get(front.port, "/health")["status"] == "shutting_down", "the proxy is told")
        assert error_of(post(front.port, CHAT, chat("y")))[0] == 503
        node.go_on.set()
        stream.read_until(b"0\r\n\r\n")
        assert b"data: second\n\n" in stream.received
        assert front.program.process.wait(5) == 0
        assert [line["error"] for line in front.lines()] == [None]


def test_request_that_takes_too_long_to_end_is_cut(tmp_path: pathlib.Path, open_stream: Streams) -> None:
    with showing_node() as node, proxy(tmp_path, nodes_at({"gpu-2": node.url}), "--shutdown-timeout", 0.2) as front:
        node.answer = in_two_parts
        stream = open_stream(front.port, chat("x", stream=True))
        stream.read_until(b"first")
        front.program.process.terminate()
        assert not stream.read_to_end().endswith(b"0\r\n\r\n")
        assert front.program.process.wait(5) == 0
        assert len(front.lines()) == 1


def test_config_file_says_what_flags_do_not_and_long_bodies_are_refused(tmp_path: pathlib.Path) -> None:
    config = tmp_path / "config.json"
    config.write_text(json.dumps({"max-body": 1000, "max-requests": 5, "router": "nearest"}))
    with showing_node() as node:
        with proxy(tmp_path, nodes_at({"gpu-2": node.url}), "--config", config) as front:
            assert error_of(post(front.port, CHAT, chat("x" * 2000)))[0] == 413
            assert node.seen == [] and get(front.port, "/stats")["refused"] == 1
        with proxy(tmp_path, nodes_at({"gpu-2": node.url}), "--config", config, "--max-body", 9000) as front:
            assert post(front.port, CHAT, chat("x" * 2000))[0] == 200


@pytest.mark.parametrize("script", ["geo_proxy.py", "prepare_wildchat.py"])
def test_help_needs_no_package_and_names_what_is_needed(script: str) -> None:
    """-S: as if nothing were installed."""
    command = [sys.executable, "-S", str(HERE.parent / script), "--help"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and done.stderr == "" and "\nNeeds: Python 3.11" in done.stdout


@pytest.mark.parametrize(
    ("options", "word"),
    [
        ([], "--nodes-file is required"),
        (["--nodes-file", "nowhere.json", "--lookup-file", "none"], "nowhere.json"),
        (["--nodes-file", "nodes.json"], "wildchat_location_lookup.json"),
        (["--nodes-file", "nodes.json", "--lookup-file", "nowhere.json"], "nowhere.json"),
        (["--nodes-file", "nodes.json", "--lookup-file", "none", "--ca", "nowhere.pem"], "nowhere.pem"),
        (["--nodes-file", "nodes.json", "--lookup-file", "none", "--log-file", "nowhere/log"], "nowhere/log"),
        (["--config", "config.json"], "unknown key 'nodes'"),
        (["--router", "random"], "random"),
        (["--port", "1e3"], "1e3"),
        (["--node-timeout", "nan"], "nan"),
    ],
)
def test_what_cannot_begin_says_why_in_one_sentence(options: list[str], word: str, tmp_path: pathlib.Path) -> None:
    nodes = nodes_at({"gpu-2": "http://127.0.0.1:1"})
    (tmp_path / "nodes.json").write_text(json.dumps(nodes))
    (tmp_path / "config.json").write_text('{"nodes": "nodes.json"}')
    command = [sys.executable, str(HERE.parent / "geo_proxy.py"), *options]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=20)
    assert done.returncode == 2 and done.stdout == ""
    assert word in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr
