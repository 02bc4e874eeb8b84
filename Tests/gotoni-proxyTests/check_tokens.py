"""Where the proxy has tokens from: a model's files, the service, the engines; and what it does when they fail."""

from __future__ import annotations

import itertools
import json
import pathlib
import signal
import threading
import time
from typing import Any

import model_files
from programs import Engine, Proxy, run, started, until
from service_process import Service, folder

CHAT = "/v1/chat/completions"


def _prompts(proxy: Proxy) -> dict[str, int]:
    return {origin: count for origin, count in proxy.status()["tokens"]["prompts"].items() if count}


def a_model_counts_in_the_proxy() -> None:
    place = model_files.deepseek()
    engine = Engine()
    proxy = Proxy("--tokenizer", str(place), servers=[f"a={engine.url}"])
    with started(engine, proxy), Service(place) as service:
        for body in (
            {"messages": [{"role": "user", "content": "Größe, 漢字 and 12345"}]},
            {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello " * 4000}]},
            {"prompt": "once upon a time"},
        ):
            path = CHAT if "messages" in body else "/v1/completions"
            answer = proxy.ask("POST", path, {"model": "m", "max_tokens": 1, **body})
            assert answer.status == 200, answer
            record = proxy.record(answer.field("x-request-id"))
            exact = record["tokens_from"] == "model"
            # The template is the tests' own, so conversations may be approximate; texts are exact.
            assert exact or "messages" in body, record
            if exact:
                assert record["tokens"] == len(service.tokens(body)), (body, record)
        document = proxy.status()
        assert document["tokenizer"] == str(place)
        assert document["tokens"]["model"]["vocabulary_size"] > 128_000, document["tokens"]
        assert "gotoni_prompts_tokenized_total" in proxy.ask("GET", "/metrics").text
        proxy.until_quiet()


def the_service_says_what_engines_see() -> None:
    place = model_files.deepseek()
    engine = Engine()
    with Service(place) as service:
        options = ("--tokenizer", f"unix:{service.path}", "--tokenizer-timeout", "5s")
        proxy = Proxy(*options, servers=[f"a={engine.url}"])
        with started(engine, proxy):
            body: dict[str, Any] = {"messages": [{"role": "user", "content": "Größe, 漢字 and 12345"}], "max_tokens": 1}
            answer = proxy.ask("POST", CHAT, body)
            record = proxy.record(answer.field("x-request-id"))
            assert record["tokens_from"] == "service" and record["tokens"] == len(service.tokens(body)), record
            proxy.until_quiet()


def a_service_that_is_slow_or_dies_costs_no_request() -> None:
    """Under load: stopped, killed, gone, and back at the same place; every request is served."""
    place, engine = model_files.deepseek(), Engine()
    path = folder() / "s" / "tokenizer.sock"
    service = Service(place, path=path)
    proxy = Proxy("--tokenizer", f"unix:{path}", "--tokenizer-timeout", "50ms", servers=[f"a={engine.url}"])
    ends, failed = threading.Event(), []
    counter = itertools.count()

    def ask() -> None:
        while not ends.is_set():
            answer = proxy.chat(f"question {next(counter)}", tokens=1)
            if answer.status != 200:
                failed.append(answer)
                return

    def grows(origin: str) -> None:
        before = _prompts(proxy).get(origin, 0)
        until(f"more tokens from {origin}", lambda: _prompts(proxy).get(origin, 0) >= before + 20)

    clients = [threading.Thread(target=ask) for _ in range(6)]
    with started(engine, proxy):
        try:
            for client in clients:
                client.start()
            grows("service")
            service.signal(signal.SIGSTOP)
            grows("estimate")
            until("it is not waited for", lambda: not proxy.status()["tokens"]["service"]["answering"])
            service.signal(signal.SIGCONT)
            grows("service")
            service.kill()
            path.unlink(missing_ok=True)
            grows("estimate")
            service = Service(place, path=path)
            grows("service")
        finally:
            ends.set()
            for client in clients:
                client.join()
            service.kill()
        assert not failed, failed[0]
        proxy.until_quiet()
        assert proxy.status()["total_failed"] == 0


def hostile_prompts_end_in_bounded_time() -> None:
    """Ten megabytes of one word, deep JSON, no UTF-8: an answer, and the proxy goes on."""
    # The engine itself must not take long for 2.6 million tokens.
    place, engine = model_files.deepseek(), Engine("--kv-tokens", "100000000", "--speed", "1000")
    proxy = Proxy("--tokenizer", str(place), servers=[f"a={engine.url}"])
    with started(engine, proxy):
        word = json.dumps({"model": "m", "max_tokens": 1, "prompt": "a" * (10 << 20)}).encode()
        deep = b'{"messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
        for body, most in ((word, 5.0), (deep, 1.0), (b'{"prompt": "\xff"}', 1.0), (b'{"prompt": "\xed\xa0\x80"}', 1.0)):
            began = time.monotonic()
            answer = proxy.ask("POST", "/v1/completions", body)
            assert answer.status in (200, 400, 413, 503), answer.status
            assert time.monotonic() - began < most, (body[:20], time.monotonic() - began)
            assert proxy.chat("still there?", tokens=1).status == 200
        assert _prompts(proxy).get("estimate", 0) >= 1
        proxy.until_quiet()


def what_is_no_tokenizer_is_said() -> None:
    other = folder()
    (other / "tokenizer.json").write_text('{"model": {"type": "Unigram", "vocab": []}}')
    for text, words in (
        ("/no/such/folder", "there is no tokenizer /no/such/folder"),
        (str(pathlib.Path(__file__).parent), "has none of tokenizer.json"),
        (str(other), "start gotoni-tokenizer for it"),
        ("unix:relative", "is not unix:/PATH"),
        ("engine,engine", "two tokenizers of one kind"),
        ("engine,estimate", "estimate stands alone"),
    ):
        status, said = run("--server", "http://127.0.0.1:9", "--tokenizer", text)
        assert status == 64 and words in said, (text, status, said)
    status, said = run("--server", "http://127.0.0.1:9", "--tokenizer", "unix:/run/x.sock,engine", "--print-config")
    assert status == 0 and 'tokenizer: "unix:/run/x.sock,engine"' in said, said
