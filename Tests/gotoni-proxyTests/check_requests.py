"""What real clients ask, and what they get."""

from __future__ import annotations

import json
import subprocess

import httpx
import openai

from programs import Engine, Proxy, chat, fresh_text, shared, started
from wire import LIMIT_S, Raw, ask, events, request, tokens_of

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "weather",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
        },
    }
]


def _client() -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{shared()[0].url}/v1", api_key="none", max_retries=0, timeout=LIMIT_S)


def openai_chat() -> None:
    answer = _client().chat.completions.create(
        model="m", messages=[{"role": "user", "content": fresh_text(400)}], max_tokens=5
    )
    assert answer.choices[0].message.content and answer.usage, answer
    assert answer.usage.completion_tokens == 5 and answer.usage.prompt_tokens >= 100, answer.usage


def openai_chat_stream() -> None:
    stream = _client().chat.completions.create(
        model="m",
        messages=[{"role": "user", "content": fresh_text(400)}],
        max_tokens=7,
        stream=True,
        stream_options={"include_usage": True},
    )
    pieces, usage = [], None
    for chunk in stream:
        pieces += [choice.delta.content for choice in chunk.choices if choice.delta.content]
        usage = chunk.usage or usage
    assert len(pieces) == 7 and usage and usage.completion_tokens == 7, (pieces, usage)


def openai_tools() -> None:
    for streams in (False, True):
        answer = _client().chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": "what is the weather?"}],
            tools=TOOLS,  # type: ignore[arg-type]
            tool_choice="required",
            stream=streams,
        )
        if streams:
            calls = [call for chunk in answer for choice in chunk.choices for call in choice.delta.tool_calls or []]
            name = calls[0].function.name
            arguments = "".join(call.function.arguments or "" for call in calls)
        else:
            call = answer.choices[0].message.tool_calls[0]
            name, arguments = call.function.name, call.function.arguments
        assert name == "weather" and "city" in json.loads(arguments), (name, arguments)


def part_arrays_are_read() -> None:
    """The words in parts, the same again, and as one string: each is found where the one before was put."""
    proxy, _ = shared()
    text = fresh_text(8_000)
    parts = [{"type": "text", "text": text[:6_000]}, {"type": "text", "text": text[6_000:]}]
    client, records = _client(), []
    for number, content in enumerate((parts, parts, text)):
        identity = f"parts-{text[:8]}-{number}"
        answer = client.chat.completions.create(
            model="m",
            messages=[{"role": "user", "content": content}],  # type: ignore[arg-type,misc,list-item]
            max_tokens=2,
            extra_headers={"x-request-id": identity},
        )
        assert answer.usage and answer.usage.completion_tokens == 2, answer
        records.append(proxy.record(identity))
    assert records[0]["tokens"] >= 2_000 and records[0]["matched_tokens"] == 0, records[0]
    assert records[1]["matched_tokens"] >= 0.95 * records[1]["tokens"], records[1]
    # Between two parts there may be a mark, so the string is the same up to there.
    assert records[2]["matched_tokens"] >= 0.7 * records[2]["tokens"], records[2]
    # What is no text is passed on as well.
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    message = {"role": "user", "content": [picture, {"type": "text", "text": "what?"}]}
    answer = proxy.ask("POST", "/v1/chat/completions", {"messages": [message], "max_tokens": 2})
    assert answer.status == 200, answer


def openai_models() -> None:
    assert [model.id for model in _client().models.list()] == ["simulated"]


def openai_completions_of_text_and_of_tokens() -> None:
    for prompt in (fresh_text(200), list(range(300))):
        answer = _client().completions.create(model="m", prompt=prompt, max_tokens=3)
        assert answer.choices[0].text and answer.usage and answer.usage.completion_tokens == 3, answer
    assert answer.usage.prompt_tokens == 300, answer.usage
    stream = _client().completions.create(model="m", prompt=list(range(300)), max_tokens=3, stream=True)
    assert sum(1 for chunk in stream if chunk.choices and chunk.choices[0].text) == 3


def openai_responses() -> None:
    answer = _client().responses.create(model="m", input=fresh_text(200), max_output_tokens=4)
    assert answer.output_text and answer.usage and answer.usage.output_tokens == 4, answer
    kinds = [
        event.type
        for event in _client().responses.create(model="m", input="again", max_output_tokens=4, stream=True)
    ]
    assert kinds[0] == "response.created" and kinds[-1] in ("response.completed", "response.incomplete"), kinds
    assert kinds.count("response.output_text.delta") == 4, kinds


def openai_embeddings() -> None:
    answer = _client().embeddings.create(model="m", input=["one", "two"])
    assert [len(row.embedding) for row in answer.data] == [8, 8], answer


def openai_errors_are_the_servers_own() -> None:
    try:
        _client().chat.completions.create(model="m", messages=[{"role": "user", "content": "x"}], n=99)
        raise AssertionError("n=99 is taken")
    except openai.BadRequestError as error:
        assert "n must be" in str(error), error


def httpx_generate() -> None:
    proxy, _ = shared()
    body = {"text": fresh_text(200), "sampling_params": {"max_new_tokens": 4}}
    with httpx.Client(base_url=proxy.url, timeout=LIMIT_S) as client:
        for _ in range(3):
            answer = client.post("/generate", json=body)
            assert answer.status_code == 200 and answer.json()["meta_info"]["completion_tokens"] == 4, answer.text
        with client.stream("POST", "/generate", json={**body, "stream": True}) as stream:
            found = events(b"".join(stream.iter_raw()))
        assert found[-1] == "[DONE]" and len(found) == 5, found


def httpx_parallel_streams_on_kept_connections() -> None:
    import asyncio

    proxy, _ = shared()

    async def all_of_them() -> list[int]:
        async with httpx.AsyncClient(base_url=proxy.url, timeout=LIMIT_S) as client:

            async def one(number: int) -> int:
                answer = await client.post(
                    "/v1/chat/completions", json=chat(f"{number} of many", 1 + number % 5, stream=True)
                )
                return sum(1 for event in events(answer.content)[:-1] if '"content":"' in event and event.count('""') == 0)

            return list(await asyncio.gather(*(one(number) for number in range(60))))

    assert asyncio.run(all_of_them()) == [1 + number % 5 for number in range(60)]


def curl_streams_and_does_not() -> None:
    proxy, _ = shared()
    for streams in (False, True):
        done = subprocess.run(
            ["curl", "-sS", "-N", "-i", "--max-time", "20", f"{proxy.url}/v1/chat/completions"]
            + ["-H", "content-type: application/json", "-d", json.dumps(chat("curl", 6, stream=streams))],
            capture_output=True,
            text=True,
            check=True,
        )
        head, _, body = done.stdout.partition("\n\n")
        assert head.startswith("HTTP/1.1 200 OK"), done.stdout
        if streams:
            assert "text/event-stream" in head and body.rstrip().endswith("data: [DONE]"), done.stdout
        else:
            assert json.loads(body)["usage"]["completion_tokens"] == 6, body


def curl_uploads_a_megabyte_with_expect() -> None:
    proxy, _ = shared()
    body = json.dumps(chat(fresh_text(1 << 20), 2)).encode()
    command = ["curl", "-sS", "--max-time", "20", "-H", "expect: 100-continue", "-w", " %{http_code}", "--data-binary", "@-"]
    done = subprocess.run([*command, f"{proxy.url}/v1/chat/completions"], input=body, capture_output=True, check=True)
    assert done.stdout.endswith(b" 200"), done.stdout[-300:]


def a_prompt_of_100k_tokens() -> None:
    proxy, _ = shared()
    text = fresh_text(420_000)
    for streams in (False, True):
        answer = proxy.chat(text, 3, stream=streams, stream_options={"include_usage": True} if streams else None)
        assert answer.status == 200, answer.text[:300]
        usage = json.loads(events(answer.body)[-2])["usage"] if streams else answer.json()["usage"]
        assert usage["prompt_tokens"] >= 100_000, usage


def tokens_come_one_by_one() -> None:
    """What an engine sends is passed on at once: a stream is not collected."""
    engine = Engine("--speed", "1", "--model", "h100")
    with started(engine):
        proxy = Proxy(servers=[f"a={engine.url}"])
        with started(proxy):
            with Raw(proxy.port, request("POST", "/v1/chat/completions", json.dumps(chat("hi", 30, stream=True)).encode())) as raw:
                raw.head()
                pieces = list(raw.chunks())
            assert len(pieces) >= 30, len(pieces)


def unknown_paths_are_passed_through() -> None:
    proxy, _ = shared()
    assert proxy.get("/server_info")["served_model_name"] == "simulated"
    answer = proxy.ask("GET", "/no/such/thing?x=1")
    assert answer.status == 404 and "There is nothing at /no/such/thing" in answer.text, answer
    answer = proxy.ask("GET", "/v1/chat/completions")
    assert answer.status == 405 and answer.field("allow") == "POST", answer
    answer = proxy.ask("POST", "/flush_cache", b"")
    assert answer.status == 200 and "flushed" in answer.text, answer


def nothing_of_the_proxys_own_reaches_a_server() -> None:
    proxy, _ = shared()
    for path in ("/proxy", "/proxy/nothing", "/proxy/status/x"):
        answer = proxy.ask("GET", path)
        answer.problem(404, "unknown_endpoint")
    answer = proxy.ask("POST", "/metrics", b"")
    assert answer.status == 405 and answer.field("allow") == "GET", answer


def a_conversation_stays_where_its_cache_is() -> None:
    proxy, _ = shared()
    conversation = [{"role": "system", "content": fresh_text(4_000)}, {"role": "user", "content": "first question"}]
    servers, cached = [], []
    for turn in range(4):
        identity = f"conversation-{conversation[0]['content'][:8]}-{turn}"
        answer = proxy.ask(
            "POST",
            "/v1/chat/completions",
            {"model": "m", "messages": conversation, "max_tokens": 40},
            {"x-request-id": identity},
        )
        usage = answer.json()["usage"]
        record = proxy.record(identity)
        servers.append(record["selected_server_id"])
        cached.append((usage["prompt_tokens_details"] or {}).get("cached_tokens", 0))
        if turn:
            assert record["matched_tokens"] >= 1_000, record
            assert record["cached_tokens"] == cached[-1], (record, usage)
            assert cached[-1] >= 1_000, usage
        conversation.append(answer.json()["choices"][0]["message"] | {"tool_calls": None})
        conversation[-1] = {"role": "assistant", "content": conversation[-1]["content"]}
        conversation.append({"role": "user", "content": f"question {turn + 2}"})
    assert len(set(servers)) == 1, servers
    assert cached == sorted(cached), cached


def usage_comes_only_if_asked_for() -> None:
    proxy, _ = shared()
    for wants in (False, True):
        more = {"stream_options": {"include_usage": True}} if wants else {}
        answer = proxy.chat("usage", 3, stream=True, **more)
        assert ('"usage"' in answer.text) == wants, answer.text


def http_1_0_head_and_pipelining() -> None:
    proxy, _ = shared()
    body = json.dumps(chat("old", 3, stream=True)).encode()
    old = f"POST /v1/chat/completions HTTP/1.0\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body
    with Raw(proxy.port, old) as raw:
        answer = raw.answer()
        assert answer.status == 200 and not answer.keeps and answer.field("transfer-encoding") is None, answer
        assert tokens_of(answer) == 3
    assert ask(proxy.port, "HEAD", "/v1/models").body == b""
    many = b"".join(
        request("POST", "/v1/chat/completions", json.dumps(chat(f"pipe {number}", 1 + number)).encode())
        for number in range(5)
    )
    with Raw(proxy.port, many) as raw:
        found = [raw.answer().json()["usage"]["completion_tokens"] for _ in range(5)]
    assert found == [1, 2, 3, 4, 5], found


def a_chunked_request_body() -> None:
    proxy, _ = shared()
    body = json.dumps(chat("in pieces", 3)).encode()
    pieces = [body[at : at + 7] for at in range(0, len(body), 7)]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    with Raw(proxy.port) as raw:
        raw.send(request("POST", "/v1/chat/completions", chunked, {"transfer-encoding": "chunked"}))
        assert raw.answer().status == 200


def a_request_that_comes_byte_by_byte() -> None:
    proxy, _ = shared()
    with Raw(proxy.port) as raw:
        for byte in request("POST", "/v1/chat/completions", json.dumps(chat("slow", 2)).encode()):
            raw.send(bytes([byte]))
        assert raw.answer().status == 200
