"""What clients ask through Envoy, and what they get."""

from __future__ import annotations

import concurrent.futures
import json

import openai
from programs import Engine, fresh_text, until
from wire import LIMIT_S

from sample import DUPLEX, DUPLEX_ANSWERS, NO_BODIES
from world import World, shared, world


def _client(its: World) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{its.envoy.url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S)


def _stream(its: World, text: str, tokens: int = 7) -> openai.types.CompletionUsage:
    """Streams an answer, and looks that it is whole."""
    stream = _client(its).chat.completions.create(
        model="simulated",
        messages=[{"role": "user", "content": text}],
        max_tokens=tokens,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, usage = [], None
    for chunk in stream:
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        usage = chunk.usage or usage
    assert len(pieces) == tokens and usage and usage.completion_tokens == tokens, (pieces, usage)
    return usage


def openai_streams_and_whole_answers() -> None:
    its = shared()
    _stream(its, fresh_text(400))
    answer = _client(its).chat.completions.create(
        model="m", messages=[{"role": "user", "content": fresh_text(400)}], max_tokens=5
    )
    assert answer.usage and answer.usage.completion_tokens == 5, answer
    its.picker.until_quiet()


def streams_side_by_side() -> None:
    its = shared()
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        for done in [pool.submit(_stream, its, fresh_text(2_000)) for _ in range(64)]:
            done.result()
    its.picker.until_quiet()


def what_has_no_prompt_goes_to_some_server() -> None:
    its = shared()
    assert [model.id for model in _client(its).models.list()] == ["simulated"]
    its.picker.until_quiet()


def the_same_prompt_finds_its_cache_again() -> None:
    its = shared()
    text = fresh_text(16_000)
    _stream(its, text)
    its.picker.until_quiet()
    identity = f"again-{text[:8]}"
    answer = its.envoy.chat(text, headers={"x-request-id": identity})
    record = its.picker.record(identity)
    assert answer.status == 200 and record["matched_tokens"] >= 0.95 * record["tokens"], record
    # Read off the answer as it passed.
    assert record["cached_tokens"] > 0 and record["output_tokens"] == 4, record
    assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == record["cached_tokens"], record


def the_answer_names_the_request() -> None:
    its = shared()
    answer = its.envoy.chat("who am I?", headers={"x-request-id": "mine-1"})
    assert answer.status == 200 and answer.field("x-request-id") == "mine-1", answer
    assert its.picker.record("mine-1")["status_code"] == 200, its.picker.record("mine-1")


def long_prompts_pass() -> None:
    its = shared()
    for size in (60_000, 300_000, 2_000_000):
        answer = its.envoy.chat(fresh_text(size))
        assert answer.status == 200 and answer.json()["usage"]["prompt_tokens"] >= size // 5, (size, answer)


def a_client_does_not_say_where_it_goes() -> None:
    its = shared()
    other = Engine("--name", "other")
    try:
        headers = {"x-gateway-destination-endpoint": f"127.0.0.1:{other.port}"}
        assert its.envoy.chat("hello", headers=headers).status == 200
        assert other.served() == 0
    finally:
        other.kill()


def modes_of_the_inference_extension() -> None:
    """Bodies in parts, both ways, each given back by the picker."""
    with world(changes=(DUPLEX, DUPLEX_ANSWERS)) as its:
        for size in (40, 4_000, 300_000, 2_000_000):
            _stream(its, fresh_text(size))
        record = its.picker.records()[-1]
        assert record["output_tokens"] == 7 and record["ttft_ms"] > 0, record
        assert [model.id for model in _client(its).models.list()] == ["simulated"]
        answer = its.envoy.ask("POST", "/v1/chat/completions", b"{")
        assert answer.status == 400, answer


def answers_that_the_picker_does_not_see() -> None:
    with world(changes=(NO_BODIES,)) as its:
        _stream(its, fresh_text(4_000))
        record = until("a record", its.picker.records)[-1]
        assert record["success"] and "output_tokens" not in {k for k, v in record.items() if v is not None}, record


def the_destination_is_in_the_metadata_too() -> None:
    """For Envoy's balancers that look there: the access log says what it was."""
    log = (
        "stat_prefix: front\n",
        """stat_prefix: front
                access_log:
                  - name: envoy.access_loggers.stdout
                    typed_config:
                      "@type": type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog
                      log_format: {json_format: {to: "%DYNAMIC_METADATA(envoy.lb:x-gateway-destination-endpoint)%"}}
""",
    )
    takes = (
        "failure_mode_allow: true",
        "failure_mode_allow: true\n                      metadata_options: {receiving_namespaces: {untyped: [envoy.lb]}}",
    )
    with world(changes=(log, takes)) as its:
        assert its.envoy.chat("hello").status == 200
        lines = until("a line", lambda: [line for line in its.envoy.words().splitlines() if line.startswith("{")], 30)
        told = json.loads(lines[0])["to"]
        assert told in [f"127.0.0.1:{engine.port}" for engine in its.engines], lines
