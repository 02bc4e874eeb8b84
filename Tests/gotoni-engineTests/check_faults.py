"""What goes wrong when it is asked to."""

import json
import signal
import socket
import threading
import time

import engine as kit
from check_times import PREFILL_MS, takes
from engine import LIMIT_S, Raw, engine, fresh_text, metrics, request


def faults_are_shown_and_a_misspelt_one_is_an_error():
    with engine("--fault", '{"slow": 2}') as e:
        assert e.get("/fault")["slow"] == 2.0
        unclear = ({"hangs": True}, {"count": 3}, {"retry_after": 1}, [1])
        for wrong in (*unclear, {"status": "no"}, {"slow": 0}, {"status": 200}):
            status, _, text = e.ask("/fault", wrong)
            assert status == 400 and json.loads(text)["error"]["message"], (wrong, status)
        assert e.fault(status=429, count=2)["status"]["count"] == 2
        assert e.fault(reset=True) == {"hang": False, "refuse": None, "status": None, "cut": None, "slow": 1.0}


def a_hanging_engine_takes_everything_and_answers_nothing():
    with engine() as e:
        e.fault(hang=True)
        with Raw(e.port, request("GET", "/health")) as first, e.stream("x", 1) as second:
            for raw in (first, second):
                raw.socket.settimeout(0.2)
                try:
                    raise AssertionError(f"it said {raw.more()!r}")
                except TimeoutError:
                    pass
            e.fault(hang=False)
            assert e.ask("/health")[0] == 200


def errors_are_answered_as_often_as_asked():
    with engine() as e:
        e.fault(status=429, count=2, retry_after=3)
        body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        got = [e.ask("/v1/chat/completions", body) for _ in range(3)]
        assert [status for status, _, _ in got] == [429, 429, 200] and got[0][1]["retry-after"] == "3"
        assert e.ask("/health")[0] == 200, "only what generates is meant"
        e.fault(status=503, path="/health")
        assert [e.ask("/health")[0], e.ask("/ready")[0], e.chat("x") and 200] == [503, 200, 200]


def an_answer_breaks_off():
    with engine() as e:
        for chunks in (0, 1, 3):
            e.fault(cut_after_chunks=chunks, count=1)
            with e.stream("x", 8) as stream:
                text = stream.to_the_end()
                # One more: the role.
                assert len(stream.times()) == (chunks + 1 if chunks else 0), (chunks, text)
                assert b"[DONE]" not in text and b"0\r\n\r\n" not in text.split(b"\r\n\r\n", 1)[-1]
        e.fault(cut_after_chunks=100, count=1)
        with e.stream("x", 8) as stream:
            assert b"[DONE]" not in stream.to_the_end()
        e.fault(cut_after_chunks=2, count=1)
        try:
            e.chat("x", 8)
            raise AssertionError("the answer was whole")
        except kit.http.client.IncompleteRead:
            pass
        e.until("sglang:num_running_reqs", 0)
        assert e.chat("x", 8)["usage"]["completion_tokens"] == 8


def connections_are_refused():
    with engine() as e:
        kept = e.connect()
        e.ask("/fault", {"refuse": True, "count": 2}, on=kept)
        for _ in range(2):
            with Raw(e.port, request("GET", "/health")) as raw:
                assert raw.to_the_end() == b""
        assert e.ask("/health")[0] == 200
        e.ask("/fault", {"refuse": True}, on=kept)
        with Raw(e.port) as raw:
            assert raw.to_the_end() == b""
        assert e.ask("/health", on=kept)[0] == 200, "who is connected stays so"
        e.process.send_signal(signal.SIGUSR1)
        end = time.monotonic() + LIMIT_S
        while json.loads(e.ask("/fault", on=kept)[2])["refuse"] is not None:
            assert time.monotonic() < end, "the signal resets nothing"
        assert e.ask("/health")[0] == 200
        kept.close()


def a_slow_engine_takes_a_multiple():
    with engine() as e:
        connection = e.connect()
        e.fault(slow=3)
        tokens = e.chat(fresh_text(1_000), 1, on=connection)["usage"]["prompt_tokens"]
        takes(3 * tokens * PREFILL_MS, lambda: e.chat(fresh_text(1_000), 1, on=connection), "slow")
        connection.close()


def a_crash_cuts_everything_and_empties_the_cache():
    with engine("--rtt-ms", "4") as e:
        text = fresh_text(2_000)
        e.chat(text)
        started = e.metric("process_start_time_seconds")
        idle = Raw(e.port, request("GET", "/health"))
        idle.until(b"200")
        with e.stream("x", 5_000) as stream, e.stream(fresh_text(9_000), 5) as prefilling:
            stream.until(b'"content":"')
            e.fault(crash=True)
            assert b"[DONE]" not in stream.to_the_end() and b"[DONE]" not in prefilling.to_the_end()
        assert idle.more() == b""
        idle.close()
        found = metrics(e.ask("/metrics")[2])
        assert found["process_start_time_seconds"] > started
        assert found["sglang:num_running_reqs"] == found["sglang:prompt_tokens_total"] == 0
        assert e.chat(text)["usage"]["prompt_tokens_details"]["cached_tokens"] == 0
        assert e.chat(text)["usage"]["prompt_tokens_details"]["cached_tokens"] > 400


def nothing_is_left_after_a_storm():
    """Clients that come, go and break things at any moment leave an idle engine that works."""
    with engine("--speed", "20", "--rtt-ms", "2", "--kv-tokens", "6000", "--max-queued", "40") as e:
        def client(number):
            for turn in range(40):
                kind = (number * 7 + turn * 3) % 10
                try:
                    with e.stream(fresh_text(100 + 300 * (turn % 5)), 1 + 20 * (turn % 4)) as stream:
                        if kind < 3:
                            stream.more()
                        elif kind < 8:
                            stream.until(b"0\r\n\r\n")
                        elif kind < 9:
                            stream.socket.shutdown(socket.SHUT_WR)
                    if number == 0 and turn % 8 == 4:
                        e.fault(cut_after_chunks=turn % 3, count=2)
                    if number == 1 and turn % 13 == 9:
                        e.fault(crash=True)
                except (AssertionError, OSError):
                    pass

        threads = [threading.Thread(target=client, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        e.fault(reset=True)
        e.until("sglang:num_running_reqs", 0)
        e.until("sglang:num_queue_reqs", 0)
        found = metrics(e.ask("/metrics")[2])
        assert found["sglang:num_used_tokens"] == 0, found
        assert e.ask("/flush_cache", method="POST")[0] == 200
        assert e.get("/server_info")["simulator"]["blocks_named"] == 0
        assert e.chat("still there", 3)["usage"]["completion_tokens"] == 3
