"""The protocol: what is asked, what is answered, and every way to ask wrongly."""

from __future__ import annotations

import http.client
import json

import model_files
from model_files import PLAIN
from service_process import Service, connected, shared


def _service() -> Service:
    return shared(model_files.deepseek())


def every_shape_of_a_prompt_is_taken() -> None:
    service = _service()
    hello, bye = service.tokens({"prompt": "Hello there"}), service.tokens({"prompt": "Bye"})
    for body, endpoint, want in (
        ({"prompt": "Hello there"}, "completions", hello),
        ({"prompt": ["Hello there"]}, "completions", hello),
        ({"prompt": ["Hello there", "Bye"]}, "completions", [hello, bye]),
        ({"prompt": [1, 2, 3]}, "completions", [1, 2, 3]),
        ({"prompt": [[1, 2, 3], [4]]}, "completions", [[1, 2, 3], [4]]),
        ({"prompt": ["Bye", [4]]}, "completions", [bye, [4]]),
        ({"prompt": ""}, "completions", []),
        ({"input": "Bye"}, "embeddings", bye),
        ({"input": ["Bye", "Bye"]}, "embeddings", [bye, bye]),
        ({"text": "Bye"}, "generate", bye),
        ({"text": ["Bye", "Hello there"]}, "generate", [bye, hello]),
        ({"input_ids": [5, 6]}, "generate", [5, 6]),
    ):
        assert service.tokens(body, endpoint) == want, body
        assert service.tokens(body) == want, body
    chat = service.tokens({"messages": PLAIN})
    assert service.tokens({"messages": PLAIN, "prompt": "not this"}) == chat
    assert service.tokens({"messages": PLAIN, "prompt": "Bye"}, "completions") == bye
    talk = {"input": [{"role": "user", "content": PLAIN[0]["content"]}]}
    assert service.tokens(talk) == service.tokens(talk, "responses") == chat
    assert service.tokens({"input": PLAIN[0]["content"], "instructions": None}, "responses") == chat


def a_clients_whole_request_is_taken() -> None:
    body = {
        "model": "anything", "messages": PLAIN, "temperature": 0.5, "stream": True, "stream_options": {"a": 1},
        "stop": ["x"], "logit_bias": {"1": 2}, "tools": None, "tool_choice": None, "user": "u", "seed": 1 << 80, "n": 1,
    }  # fmt: skip
    assert _service().tokens(body, "chat") == _service().tokens({"messages": PLAIN})


def a_count_is_enough() -> None:
    answer = _service().post("/tokenize", {"prompt": ["Hello there", "Bye"], "return_tokens": False})
    assert answer == {"count": 4, "max_model_len": 1048576, "model": "deepseek"}, answer
    assert _service().post("/count", {"text": "Hello there"}) == {"count": 2}


def a_batch_answers_each_by_itself() -> None:
    service = _service()
    requests = [
        {"prompt": "Hello there"},
        {"messages": PLAIN, "endpoint": "chat"},
        {"input": "Bye", "endpoint": "responses", "return_tokens": False},
        {"prompt": {}},
        "no object",
        {"messages": PLAIN, "endpoint": "nowhere"},
    ]
    results = service.post("/batch", {"requests": requests})["results"]
    assert [("error" in result) for result in results] == [False, False, False, True, True, True], results
    assert results[0]["tokens"] == service.tokens(requests[0])
    assert results[1]["tokens"] == service.tokens({"messages": PLAIN})
    assert results[2] == {key: results[2][key] for key in ("count", "max_model_len", "model")}
    assert set(results[3]["error"]) == {"message", "type"}
    assert service.post("/batch", {"requests": []}) == {"results": []}
    assert len(service.post("/batch", {"requests": [{"prompt": "x"}] * 1024})["results"]) == 1024
    service.ask("POST", "/batch", {"requests": [{"prompt": "x"}] * 1025}).problem(413, "1024")
    service.ask("POST", "/batch", {"requests": {}}).problem(400, "no list")


def what_is_wrong_is_said() -> None:
    service = _service()
    with service.client() as client:
        for words, body in (
            ("not JSON", b"{"),
            ("not JSON", b""),
            ("not JSON", b'{"prompt": NaN}'),
            ("not JSON", b'\xef\xbb\xbf{"prompt": "x"}'),
            ("not UTF-8", b'{"prompt": "\xff"}'),
            ("not UTF-8", b'{"prompt": "\xed\xa0\x80"}'),
            ("not UTF-8", '{"prompt": "x"}'.encode("utf-16")),
            ("not a JSON object", b"[]"),
            ("not JSON", b'{"prompt": ' + b"9" * 5000 + b"}"),
            ("no messages", {}),
            ("no messages", {"model": "x"}),
            ("neither a text", {"prompt": {"a": 1}}),
            ("neither a text", {"prompt": []}),
            ("neither a text", {"prompt": [[]]}),
            ("neither a text", {"prompt": [True]}),
            ("neither a text", {"prompt": [1, -1]}),
            ("neither a text", {"prompt": [1, "x"]}),
            ("neither a text", {"prompt": [1.5]}),
            ("neither a text", {"prompt": 1}),
            ("not true or false", {"prompt": "x", "add_special_tokens": 1}),
            ("not true or false", {"prompt": "x", "return_tokens": "no"}),
            ("endpoint is not one of", {"prompt": "x", "endpoint": "y"}),
            ("has no message", {"messages": []}),
            ("not a list of objects", {"messages": ["x"]}),
            ("not a list of objects", {"messages": {"role": "user"}}),
            ("has no role", {"messages": [{"content": "x"}]}),
            ("neither a text nor a list of parts", {"messages": [{"role": "user", "content": 1}]}),
            ("has no text", {"messages": [{"role": "user", "content": [{"type": "text"}]}]}),
            ("is not an object", {"messages": [{"role": "user", "content": [1]}]}),
            ("tools is not", {"messages": PLAIN, "tools": ["x"]}),
            ("tool_calls is not", {"messages": [{"role": "assistant", "tool_calls": {"a": 1}}]}),
            ("has no function", {"messages": [{"role": "assistant", "tool_calls": [1]}]}),
            ("is not an object", {"messages": PLAIN, "chat_template_kwargs": []}),
            ("documents is not", {"messages": PLAIN, "documents": [1]}),
            ("instructions is not", {"input": "x", "instructions": 1}),
            ("input is neither", {"input": 1, "endpoint": "responses"}),
        ):
            client.ask("POST", "/tokenize", body).problem(400, words)
        client.ask("POST", "/tokenize?endpoint=x", {"prompt": "x"}).problem(400, "endpoint is not one of")
        client.ask("POST", "/tokenize?endpoint=chat", {"prompt": "x"}).problem(400, "has no message")
        client.ask("POST", "/tokenize?endpoint=generate", {"prompt": "x"}).problem(400, "no text or input_ids")
        client.ask("POST", "/count", {"text": 1}).problem(400, "text is missing")
        client.ask("GET", "/nowhere").problem(404, "no such path")
        answer = client.ask("GET", "/tokenize")
        answer.problem(405, "does not take GET")
        assert answer.fields["allow"] == "POST", answer
        # The same connection is still good.
        assert client.ask("POST", "/count", {"text": "Bye"}).json() == {"count": 2}


def every_kind_of_transfer_is_read() -> None:
    service = _service()
    body = json.dumps({"text": "Hello there"}).encode()
    for head, data in (
        (b"Transfer-Encoding: chunked", b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)),
        (b"Content-Length: %d\r\nExpect: 100-continue" % len(body), body),
        (b"Content-Length: %d\r\nContent-Type: text/plain" % len(body), body),
    ):
        with connected(service.path) as raw:
            raw.sendall(b"POST /count HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + head + b"\r\n\r\n" + data)
            answer = b"".join(iter(lambda: raw.recv(1 << 16), b""))
            assert answer.endswith(b'{"count": 2}'), answer


def nothing_of_a_prompt_is_logged() -> None:
    with Service(model_files.deepseek(), options=("--log-level", "debug", "--max-text", "100000000")) as service:
        secret = "xyzzy secret"
        for body in (
            {"prompt": secret},
            {"messages": [{"role": secret, "content": secret}]},
            {"messages": [{"role": "user", "content": {secret: 1}}]},
            {"prompt": {secret: secret}},
            secret.encode(),
        ):
            service.ask("POST", f"/tokenize?q={secret.replace(' ', '%20')}", body)
        # The library gives up on this one, and says so on standard error by itself.
        status = service.ask("POST", "/count", {"text": secret + " " * 10_000_000}).status
        assert status in (200, 400), status
        assert service.ask("POST", "/count", {"text": "Bye"}).json() == {"count": 2}
        assert service.stop() == 0
        words = service.words()
        assert "POST /tokenize 200" in words and "secret" not in words and "panicked" not in words, words


def a_connection_serves_many_requests() -> None:
    with _service().client() as client:
        client.connect()
        first = client.sock
        for number in range(50):
            assert client.ask("POST", "/count", {"text": "Bye " * number}).status == 200
        assert client.sock is first and isinstance(client, http.client.HTTPConnection)
