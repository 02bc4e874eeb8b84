"""What is answered, and to whom."""

import json
import time

from engine import LIMIT_S, Raw, engine, fresh_text, metrics, request


def every_endpoint_answers_what_routers_read():
    with engine("--model-name", "tiny") as e:
        for path in ("/health", "/health_generate", "/ready"):
            assert e.ask(path)[0] == 200
        model = e.get("/v1/models")["data"][0]
        assert model["id"] == "tiny" and model["owned_by"] == "sglang" and model["max_model_len"] == 524_288
        for path in ("/server_info", "/get_server_info"):
            info = e.get(path)
            assert info["served_model_name"] == "tiny" and info["page_size"] == 16 and info["internal_states"]
        for path in ("/model_info", "/get_model_info"):
            assert e.get(path)["is_generation"] is True
        load = e.get("/v1/loads?include=core")["loads"][0]
        assert load["num_running_reqs"] == 0 and load["max_total_num_tokens"] == 524_288
        assert e.get("/get_load")[0]["num_reqs"] == 0
        assert e.ask("/nothing")[0] == 404 and e.ask("/v1/chat/completions/render", {})[0] == 404
        for path, body in [("/health", {}), ("/v1/chat/completions", None), ("/metrics", {})]:
            status, headers, text = e.ask(path, body)
            assert status == 405 and headers["allow"] and json.loads(text)["error"]["message"], (path, status)


def metrics_are_prometheus_and_count():
    with engine() as e:
        prompt = e.chat("hello " * 100, 5)["usage"]["prompt_tokens"]
        cached = e.chat("hello " * 100, 5)["usage"]["prompt_tokens_details"]["cached_tokens"]
        found = metrics(e.ask("/metrics")[2])
        assert found["sglang:prompt_tokens_total"] == 2 * prompt
        assert found["sglang:generation_tokens_total"] == 10
        assert found["sglang:cached_tokens_total"] == cached > 0
        assert found["sglang:cache_hit_rate"] == cached / prompt
        assert found["sglang:num_requests_total"] == 2 and found["sglang:num_aborted_requests_total"] == 0
        for name in ("num_running_reqs", "num_queue_reqs", "token_usage", "num_used_tokens", "gen_throughput"):
            assert f"sglang:{name}" in found
        assert found["sglang:max_total_num_tokens"] == 524_288
        for name in ("sglang:time_to_first_token_seconds", "sglang:e2e_request_latency_seconds"):
            buckets = [value for key, value in found.items() if key.startswith(f"{name}_bucket")]
            assert buckets == sorted(buckets) and buckets[-1] == found[f"{name}_count"] == 2
        assert abs(found["process_start_time_seconds"] - time.time()) < 60


def load_is_seen_while_it_is_there():
    with engine("--max-running", "1") as e, e.stream("first", 400) as first, e.stream(fresh_text(3_200), 4) as second:
        e.until("sglang:num_queue_reqs", 1)
        first.until(b'"content":"')
        load = e.get("/v1/loads?include=core")["loads"][0]
        assert (load["num_running_reqs"], load["num_waiting_reqs"]) == (1, 1), load
        assert 800 <= load["num_waiting_uncached_tokens"] <= 810, load
        assert e.get("/get_load")[0]["num_reqs"] == 2
        assert e.metric("sglang:num_running_reqs") == 1 and e.metric("sglang:token_usage") > 0


def an_answer_is_as_long_as_asked():
    with engine("--output-tokens", "7") as e:
        bounded = e.chat("hi", 5)
        assert bounded["usage"]["completion_tokens"] == 5 and bounded["choices"][0]["finish_reason"] == "length"
        assert len(bounded["choices"][0]["message"]["content"]) == 20
        free = e.chat("hi", None)
        assert free["usage"]["completion_tokens"] == 7 and free["choices"][0]["finish_reason"] == "stop"
        assert free["model"] == "m" and free["object"] == "chat.completion"


def the_same_prompt_has_the_same_answer():
    def answer(seed):
        with engine("--seed", seed) as e:
            return e.chat("tell me", 16)["choices"][0]["message"]["content"]

    assert answer("1") == answer("1") != answer("2")


def a_prompt_is_cached_the_second_time_in_whole_pages():
    for model, page in (("neutral", 16), ("h100", 1)):
        with engine("--model", model) as e:
            text = fresh_text(1_003)
            usages = [e.chat(text, 4)["usage"] for _ in range(2)]
            prompt = usages[0]["prompt_tokens"]
            assert usages[0]["prompt_tokens_details"]["cached_tokens"] == 0
            assert usages[1]["prompt_tokens_details"]["cached_tokens"] == (prompt - 1) // page * page
            other = e.chat(text, 4, model="n")["usage"]
            assert other["prompt_tokens_details"]["cached_tokens"] == 0, "another model has another cache"


def a_conversation_finds_its_own_answers():
    """Whatever the lengths are modulo blocks and bytes, all whole blocks up to the last answer's end are found."""
    for path in ("/v1/chat/completions", "/v1/completions"):
        with engine("--speed", "100") as e:
            for size in range(100, 117):
                messages, text = [{"role": "user", "content": fresh_text(size)}], fresh_text(size)
                known = 0
                for turn in range(4):
                    body = {"model": "m", "max_tokens": 40 + size % 7}
                    body |= {"messages": messages} if "chat" in path else {"prompt": text}
                    answer = json.loads(e.ask(path, body)[2])
                    usage, choice = answer["usage"], answer["choices"][0]
                    cached = usage["prompt_tokens_details"]["cached_tokens"]
                    # The role's few tokens are not generated, and a token may be cut in two.
                    assert known - 16 - 4 <= cached <= known + 4, (path, size, turn, known, usage)
                    known = usage["prompt_tokens"] + usage["completion_tokens"]
                    if "chat" in path:
                        messages += [choice["message"], {"role": "user", "content": f"and then {turn}"}]
                    else:
                        text += choice["text"] + f" and then {turn}"


def a_stream_has_every_token_once_and_ends():
    with engine() as e, e.stream("hi", 9, stream_options={"include_usage": True}) as stream:
        stream.until(b"0\r\n\r\n")
        head, body = stream.text.split(b"\r\n\r\n", 1)
        assert head.startswith(b"HTTP/1.1 200") and b"text/event-stream" in head
        chunks = body.split(b"\r\n")
        assert all(int(size, 16) == len(data) for size, data in zip(chunks[0:-2:2], chunks[1:-2:2]))
        events = [data.removeprefix(b"data: ").removesuffix(b"\n\n") for data in chunks[1:-2:2]]
        assert events[-1] == b"[DONE]"
        parsed = [json.loads(event) for event in events[:-1]]
        assert parsed[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
        assert len({event["id"] for event in parsed}) == 1
        text = "".join(event["choices"][0]["delta"].get("content", "") for event in parsed if event["choices"])
        assert len(text) == 36 and text == e.chat("hi", 9)["choices"][0]["message"]["content"]
        assert parsed[-2]["choices"][0]["finish_reason"] == "length"
        assert parsed[-1]["choices"] == [] and parsed[-1]["usage"]["completion_tokens"] == 9


def sglangs_own_endpoint():
    with engine() as e:
        body = {"text": "hello", "sampling_params": {"max_new_tokens": 3}}
        whole = json.loads(e.ask("/generate", body)[2])
        assert whole["meta_info"]["completion_tokens"] == 3 and whole["meta_info"]["cached_tokens"] == 0
        assert whole["meta_info"]["finish_reason"]["type"] == "length" and len(whole["text"]) == 12
        _, _, text = e.ask("/generate", body | {"stream": True})
        events = [json.loads(line[6:]) for line in text.split("\n\n") if line.startswith("data: {")]
        assert [len(event["text"]) for event in events] == [4, 8, 12] and text.endswith("data: [DONE]\n\n")
        assert [event["meta_info"]["completion_tokens"] for event in events] == [1, 2, 3]
        ids = {"input_ids": list(range(100)), "sampling_params": {"max_new_tokens": 1}}
        assert json.loads(e.ask("/generate", ids)[2])["meta_info"]["prompt_tokens"] == 100
        assert json.loads(e.ask("/generate", ids)[2])["meta_info"]["cached_tokens"] == 96


def openais_client_is_content():
    import openai

    with engine("--model-name", "tiny", "--api-key", "secret") as e:
        client = openai.OpenAI(base_url=f"{e.url}/v1", api_key="secret", max_retries=0, timeout=LIMIT_S)
        assert client.models.list().data[0].id == "tiny"
        messages = [{"role": "user", "content": "Is it raining?"}]
        answer = client.chat.completions.create(model="tiny", messages=messages, max_tokens=6, n=2)
        assert len(answer.choices) == 2 and answer.usage.completion_tokens == 12
        assert answer.choices[0].message.content != answer.choices[1].message.content
        parts = list(
            client.chat.completions.create(
                model="tiny", messages=messages, max_tokens=6, stream=True, stream_options={"include_usage": True}
            )
        )
        text = "".join(part.choices[0].delta.content or "" for part in parts if part.choices)
        assert text == answer.choices[0].message.content
        assert parts[-1].usage.prompt_tokens_details.cached_tokens == 0

        done = client.completions.create(model="tiny", prompt=["one prompt", "another"], max_tokens=4)
        assert [choice.index for choice in done.choices] == [0, 1] and done.usage.completion_tokens == 8
        parts = list(client.completions.create(model="tiny", prompt="one prompt", max_tokens=4, stream=True))
        assert len("".join(part.choices[0].text for part in parts)) == 16

        response = client.responses.create(model="tiny", input="hello", max_output_tokens=4)
        assert len(response.output_text) == 16 and response.status == "incomplete"
        events = list(client.responses.create(model="tiny", input="hello", stream=True))
        assert events[0].type == "response.created" and events[-1].type == "response.completed"
        assert [event.sequence_number for event in events] == list(range(len(events)))
        deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert deltas == events[-1].response.output_text and events[-1].response.usage.output_tokens == 64

        vectors = client.embeddings.create(model="tiny", input=["a", "b"])
        floats = client.embeddings.create(model="tiny", input=["a", "b"], encoding_format="float")
        assert [len(v.embedding) for v in vectors.data] == [8, 8]
        # The client decodes base64 to 32-bit floats.
        for a, b in zip(vectors.data, floats.data):
            assert all(abs(x - y) < 1e-6 for x, y in zip(a.embedding, b.embedding))
        try:
            client.chat.completions.create(model="tiny", messages=[])
            raise AssertionError("a request without a prompt was answered")
        except openai.BadRequestError as error:
            assert "no prompt" in error.message
        try:
            openai.OpenAI(base_url=f"{e.url}/v1", api_key="wrong", max_retries=0).models.list()
            raise AssertionError("a wrong key was taken")
        except openai.AuthenticationError:
            pass


def tools_are_called_when_they_must_be():
    import openai

    schema = {
        "type": "object",
        "properties": {"city": {"type": "string"}, "days": {"type": "integer"}, "unit": {"enum": ["C", "F"]}},
        "required": ["city", "days", "unit"],
    }
    tools = [{"type": "function", "function": {"name": n, "parameters": schema}} for n in ("weather", "news")]
    messages = [{"role": "user", "content": "Is it raining?"}]
    with engine() as e:
        client = openai.OpenAI(base_url=f"{e.url}/v1", api_key="k", max_retries=0, timeout=LIMIT_S)

        def create(choice, **more):
            return client.chat.completions.create(
                model="m", messages=messages, tools=tools, tool_choice=choice, **more
            )

        named = {"type": "function", "function": {"name": "news"}}
        for choice, name in (("required", "weather"), (named, "news")):
            answer = create(choice).choices[0]
            call = answer.message.tool_calls[0]
            assert answer.finish_reason == "tool_calls" and call.function.name == name
            assert json.loads(call.function.arguments) == {"city": "text", "days": 7, "unit": "C"}
            parts = [part.choices[0] for part in create(choice, stream=True)]
            calls = [part.delta.tool_calls[0] for part in parts if part.delta.tool_calls]
            assert calls[0].function.name == name and calls[0].id
            assert "".join(c.function.arguments for c in calls) == call.function.arguments
            assert parts[-1].finish_reason == "tool_calls"
        assert create("auto").choices[0].message.content and not create("auto").choices[0].message.tool_calls
        deep = '{"properties": {"a": ' * 400 + "{}" + "}}" * 400
        body = json.dumps({"messages": messages, "tool_choice": "required", "tools": [{"function": {"name": "f"}}]})
        body = body.replace('"name": "f"', f'"name": "f", "parameters": {deep}')
        assert e.ask("/v1/chat/completions", body)[0] in (200, 400)
        assert create("required", max_tokens=2).choices[0].finish_reason == "length"
        try:
            create({"type": "function", "function": {"name": "none"}})
            raise AssertionError("a function that was not offered was called")
        except openai.BadRequestError:
            pass


def what_cannot_be_answered_is_refused_in_openais_words():
    with engine("--kv-tokens", "1024", "--max-body-mb", "1") as e:
        for body, status in [
            ("{not json", 400),
            ("[]", 400),
            ('{"messages": []}', 400),
            ('{"messages": [{"role": "user", "content": "x"}], "n": 0}', 400),
            ('{"messages": [{"role": "user", "content": "x"}], "n": "two"}', 400),
            (json.dumps({"messages": [{"role": "user", "content": "x" * 5_000}]}), 400),
            ('{"messages": [{"role": "user", "content": "\\u12"}]}', 400),
            ("x" * (1 << 20) + "x", 413),
        ]:
            got, _, text = e.ask("/v1/chat/completions", body)
            assert got == status and json.loads(text)["error"]["message"], (body[:60], got, text)
        # An answer is no longer than what is left of the cache.
        usage = e.chat("x" * 3_200, 5_000)["usage"]
        assert usage["total_tokens"] == 1_024
        assert e.metric("sglang:num_running_reqs") == 0


def http_as_clients_speak_it():
    chat = json.dumps({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 2})
    with engine() as e:
        # Two requests in one packet, answered in order.
        with Raw(e.port, request("GET", "/v1/models") + request("POST", "/v1/chat/completions", chat)) as raw:
            text = raw.until(b"total_tokens")
            assert text.count(b"HTTP/1.1 200") == 2 and text.index(b"owned_by") < text.index(b"chat.completion")
        with Raw(e.port, request("POST", "/v1/chat/completions", chat[:-1] + ', "stream": true}', "1.0")) as raw:
            text = raw.to_the_end()
            assert b"chunked" not in text and text.endswith(b"data: [DONE]\n\n")
        with Raw(e.port, request("POST", "/v1/chat/completions", chat, headers="connection: close\r\n")) as raw:
            assert raw.to_the_end().endswith(b"}")
        head, body = request("POST", "/v1/chat/completions", chat, headers="expect: 100-continue\r\n").split(b"{", 1)
        with Raw(e.port, head) as raw:
            raw.until(b"100 Continue\r\n\r\n")
            raw.send(b"{" + body)
            raw.until(b"total_tokens")
        with Raw(e.port, request("GET", "/health", headers=f"x: {'y' * 100_000}\r\n")) as raw:
            assert b" 431 " in raw.to_the_end()
        with Raw(e.port, request("HEAD", "/v1/models") + request("GET", "/v1/models")) as raw:
            # The answer to HEAD has no body, so the next one begins behind its head.
            text = raw.until(b"owned_by")
            assert b" 405 " in text and text.split(b"\r\n\r\n")[1].startswith(b"HTTP/1.1 200")
        with Raw(e.port, b"this is not HTTP\r\n\r\n") as raw:
            assert b" 400 " in raw.to_the_end()
        assert e.chat("hi")["usage"]
