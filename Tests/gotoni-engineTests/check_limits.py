"""Where it says no, and what it gives up."""

import json
import socket
import time

from engine import LIMIT_S, Raw, engine, fresh_text, request


def a_client_that_leaves_cancels_its_work():
    with engine() as e:
        for leave in ("close", "half"):
            before = e.metric("sglang:num_aborted_requests_total")
            stream = e.stream("long", 5_000)
            stream.until(b'"content":"')
            assert e.metric("sglang:num_running_reqs") == 1
            if leave == "close":
                stream.close()
            else:
                stream.socket.shutdown(socket.SHUT_WR)
            e.until("sglang:num_running_reqs", 0)
            assert e.metric("sglang:num_aborted_requests_total") == before + 1
            stream.close()
        # Also one that waits, and one whose answer is not a stream.
        body = json.dumps({"messages": [{"role": "user", "content": "x"}], "max_tokens": 5_000})
        raw = Raw(e.port, request("POST", "/v1/chat/completions", body))
        e.until("sglang:num_running_reqs", 1)
        raw.close()
        e.until("sglang:num_running_reqs", 0)


def a_full_queue_is_503():
    with engine("--max-running", "1", "--max-queued", "2") as e:
        running = e.stream("a", 5_000)
        running.until(b'"content":"')
        waiting = [e.stream("b", 2), e.stream("c", 2)]
        e.until("sglang:num_queue_reqs", 2)
        status, _, text = e.ask("/v1/chat/completions", {"messages": [{"role": "user", "content": "d"}]})
        assert status == 503 and "queue is full" in json.loads(text)["error"]["message"]
        running.close()
        for stream in waiting:
            stream.until(b"[DONE]")
            stream.close()


def connections_are_limited():
    with engine("--max-connections", "4") as e:
        raws = [Raw(e.port, request("GET", "/health")) for _ in range(4)]
        for raw in raws:
            raw.until(b"200")
        with Raw(e.port, request("GET", "/health")) as fifth:
            assert fifth.to_the_end() == b""
        for raw in raws:
            raw.close()
        end = time.monotonic() + LIMIT_S
        while time.monotonic() < end:
            with Raw(e.port, request("GET", "/health")) as raw:
                if b"200" in raw.more():
                    return
        raise AssertionError("no connection is taken any more")


def names_of_blocks_are_forgotten():
    with engine("--kv-tokens", "4096", "--speed", "1000") as e:
        connection = e.connect()
        for _ in range(300):
            e.chat(fresh_text(4_000), 1, on=connection)
        named = e.get("/server_info")["simulator"]["blocks_named"]
        # Every prompt has one block that is not full.
        assert 200 <= named <= 4_096 / 16 * 1.1, named
        assert e.metric("sglang:evicted_tokens_total") > 200_000
        connection.close()


def keys_are_asked_for():
    with engine("--api-key", "user", "--admin-api-key", "admin") as e:
        def status(path, key=None, method="GET"):
            return e.ask(path, method=method, headers={"authorization": f"Bearer {key}"} if key else {})[0]

        assert status("/health") == status("/metrics") == 200
        assert status("/v1/models") == status("/v1/models", "admin") == 401 and status("/v1/models", "user") == 200
        assert status("/flush_cache", "user", "POST") == 401 and status("/flush_cache", "admin", "POST") == 200


def the_cache_is_flushed_only_when_idle():
    with engine() as e:
        text = fresh_text(2_000)
        e.chat(text)
        with e.stream("busy", 2_000) as stream:
            stream.until(b'"content":"')
            for method in ("GET", "POST"):
                status, _, said = e.ask("/flush_cache", method=method)
                assert status == 400 and "will not be performed" in said
        e.until("sglang:num_running_reqs", 0)
        assert e.chat(text)["usage"]["prompt_tokens_details"]["cached_tokens"] > 400
        assert e.ask("/flush_cache", method="POST")[0] == 200
        assert e.chat(text)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
