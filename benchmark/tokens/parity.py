#!/usr/bin/env python3
"""Does the router count a prompt's tokens as the engine does, and know what the engine has cached?

    parity.py --engine llamacpp                                       engine and reference, without a router
    parity.py --engine llamacpp --gotoni-proxy build/bin/gotoni-proxy
    parity.py --engine vllm --vllm-venv VENV --templates llama3 --gotoni-proxy build/bin/gotoni-proxy

Chats made from a seed are sent one turn after the other, half of them streamed. Of each request the tokens are counted
three times: by the engine (`usage.prompt_tokens`), by the reference (Jinja and Hugging Face's tokenizers) and, with
--gotoni-proxy, by the router, whose request log says so. Where llama.cpp is known not to do what the model's files say
(expect.py lists that), a count that differs is no error: it is told under `its own`. --tokenizer says where the router
counts: `folder` gives it the model's folder; `none` is no tokenizer at all; `engine`, `unix:SOCKET` or a path go to it
as they are; several are separated by commas.

Needs the packages of requirements.txt: xllamacpp for --engine llamacpp, gguf, numpy, jinja2 and tokenizers for all.

Exit status: 0 all other counts are equal and predicted cached tokens are within a block of the engine's, 1 some are
not, 2 something could not be measured.
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import dataclasses
import datetime
import http.client
import json
import pathlib
import signal
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from typing import Any

import chats
import engines
from families import FAMILIES

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SHOWN = 5  # examples of each kind of difference
LOG_WITHIN_S = 5.0


class ParityError(Exception):
    """One sentence about why something could not be measured."""


@dataclasses.dataclass
class Record:
    id: str
    template: str
    chat: int
    turn: int
    kind: str
    stream: bool
    engine: int
    engine_cached: int
    reference: int
    own_rules: int  # the reference, but with what the engine is known to do otherwise
    reference_cached: int  # what the prompts share, in whole blocks of the engine's
    is_own: bool  # whether those give other tokens
    forgotten: int  # tokens that older requests share with this one beyond that: one slot has the last request alone
    router: int | None = None
    router_cached: int | None = None

    @property
    def judged(self) -> int:
        """Where there is a router it is the one to judge; else the reference."""
        return self.reference if self.router is None else self.router

    def agrees(self) -> bool:
        return self.engine == self.judged

    def is_known(self) -> bool:
        """The engine differs, and as it always does; who is judged goes by the model's files."""
        return not self.agrees() and self.is_own and (self.engine, self.judged) == (self.own_rules, self.reference)

    def is_wrong(self) -> bool:
        return not self.agrees() and not self.is_known()

    def predicted(self) -> int:
        return self.reference_cached if self.router_cached is None else self.router_cached

    def cached_off(self) -> int:
        """By how many tokens the engine has more than was predicted; the router does not know that it has one slot."""
        if self.router_cached is None:
            return self.engine_cached - self.reference_cached
        return self.engine_cached + self.forgotten - self.router_cached

    def is_within(self, block: int) -> bool:
        """Where the engine counts other tokens than who is judged, so it does of what it has cached."""
        return abs(self.cached_off()) < max(block, 1) or (self.router is not None and self.is_own)


def main() -> int:
    arguments = parse_arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(2))  # so that what was started is stopped
    try:
        records, statuses = measure(arguments)
    except ImportError as error:
        print(f"parity: {error} (benchmark/tokens/requirements.txt)", file=sys.stderr)
        return 2
    except (OSError, RuntimeError, ParityError, http.client.HTTPException) as error:
        print(f"parity: {error}", file=sys.stderr)
        return 2
    results = report(arguments, records, statuses)
    if arguments.json is not None:
        arguments.json.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    print_report(results, records)
    good = [item["agree"] + item["own"] == item["within"] == item["requests"] for item in results["templates"]]
    return 0 if all(good) else 1


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", choices=["llamacpp", "vllm"], default="llamacpp")
    parser.add_argument("--engine-url", metavar="URL", help="of one that runs with the one template's folder already")
    parser.add_argument("--vllm-venv", type=pathlib.Path, metavar="PATH", help="where vLLM's CPU build is installed")
    parser.add_argument("--gotoni-proxy", type=pathlib.Path, metavar="PATH", help="put the router before the engine")
    parser.add_argument("--tokenizer", default="folder", metavar="WHERE", help="the router's (default: folder)")
    parser.add_argument("--block-tokens", type=int, metavar="N", help="the router's (default: 16; with vLLM its own)")
    parser.add_argument("--templates", nargs="+", choices=FAMILIES, default=list(FAMILIES), metavar="NAME")
    parser.add_argument("--kinds", nargs="+", metavar="KIND", help=f"of {', '.join(chats.ALL_KINDS)}")
    parser.add_argument("--each", type=int, default=1, metavar="N", help="chats of each kind (default: 1)")
    parser.add_argument("--seed", type=int, default=20261)
    parser.add_argument(
        "--answer-tokens",
        type=int,
        default=1,
        metavar="N",
        help="with more than one, the chats go on with what the engine answers (default: 1, and with written answers)",
    )
    parser.add_argument("--cache", type=pathlib.Path, default=ROOT / "build" / "tokens", metavar="FOLDER")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="all records")
    arguments = parser.parse_args()
    if arguments.engine == "vllm" and arguments.vllm_venv is None and arguments.engine_url is None:
        parser.error("--engine vllm needs --vllm-venv or --engine-url")
    if arguments.engine_url is not None and len(arguments.templates) != 1:
        parser.error("--engine-url needs the one template that the engine has")
    if arguments.block_tokens is None:
        arguments.block_tokens = block_of(arguments.engine) if arguments.engine == "vllm" else 16
    return arguments


def block_of(engine: str) -> int:
    return engines.VLLM_BLOCK if engine == "vllm" else 1


# MARK: Measured


def measure(arguments: argparse.Namespace) -> tuple[list[Record], dict[str, Any]]:
    import models  # what is not of Python itself is imported only now, so that --help works without it

    records: list[Record] = []
    statuses: dict[str, Any] = {}
    arguments.cache.mkdir(parents=True, exist_ok=True)
    for name in arguments.templates:
        folder = models.folder_of(FAMILIES[name], arguments.cache)
        begin = time.monotonic()
        with running(arguments, folder) as url, routed(arguments, folder, url) as (target, is_router):
            started = time.monotonic()
            found = run(arguments, name, folder, target)
            if is_router:
                statuses[name] = status_of(target)
                add_router_counts(target, found)
            say(f"{name}: {len(found)} requests in {time.monotonic() - started:.1f} s, up in {started - begin:.1f} s")
        records += found
    return records, statuses


@contextlib.contextmanager
def running(arguments: argparse.Namespace, folder: pathlib.Path) -> Iterator[str]:
    log = arguments.cache / f"{arguments.engine}.log"
    if arguments.engine_url is not None:
        yield arguments.engine_url.rstrip("/")
    elif arguments.engine == "vllm":
        with engines.vllm(folder, log, arguments.vllm_venv) as url:
            yield url
    else:
        with engines.llama_cpp(folder, log) as url:
            yield url


@contextlib.contextmanager
def routed(arguments: argparse.Namespace, folder: pathlib.Path, url: str) -> Iterator[tuple[str, bool]]:
    if arguments.gotoni_proxy is None:
        yield url, False
        return
    sources = [str(folder) if source == "folder" else source for source in arguments.tokenizer.split(",")]
    tokenizer = None if sources == ["none"] else ",".join(sources)
    log = arguments.cache / "gotoni-proxy.log"
    with engines.router(arguments.gotoni_proxy, url, tokenizer, arguments.block_tokens, log) as target:
        yield target, True


def run(arguments: argparse.Namespace, name: str, folder: pathlib.Path, url: str) -> list[Record]:
    """One chat at a time, so that an engine of one slot has its last turn cached."""
    import expect

    reference = expect.published(folder)
    own = expect.llama_cpp(folder) if arguments.engine == "llamacpp" else reference
    block = block_of(arguments.engine)
    records: list[Record] = []
    earlier: list[list[int]] = []
    # Each run and template has chats of its own: an engine that runs on has nothing of them cached.
    for chat in chats.make(f"{arguments.seed} {name}", arguments.each, "tojson" in FAMILIES[name].template):
        if arguments.kinds is not None and chat.kind not in arguments.kinds:
            continue
        for request in chat.requests():
            id = f"{name}-{request.chat}-{request.turn}"
            text, usage = send(url, id, request, arguments.answer_tokens)
            if arguments.answer_tokens > 1:
                chat.answered(request.turn, text)
            tokens = reference.tokens(request.messages, request.fields)
            own_tokens = own.tokens(request.messages, request.fields)
            details = usage.get("prompt_tokens_details") or {}
            if "cached_tokens" not in details:
                raise ParityError(f"{name}: the engine's usage has no cached_tokens.")
            ever = expect.cached(own_tokens, earlier, block)
            shared = expect.cached(own_tokens, earlier[-1:], block) if arguments.engine == "llamacpp" else ever
            record = Record(
                id=id, template=name, chat=request.chat, turn=request.turn, kind=request.kind, stream=request.stream,
                engine=usage["prompt_tokens"], engine_cached=details["cached_tokens"],
                reference=len(tokens), own_rules=len(own_tokens), reference_cached=shared, is_own=tokens != own_tokens,
                forgotten=ever - shared,
            )  # fmt: skip
            records.append(record)
            earlier.append(own_tokens)
    return records


def send(url: str, id: str, request: chats.Request, answer_tokens: int) -> tuple[str, dict[str, Any]]:
    """The answer's text, and the usage that came with it."""
    fields: dict[str, Any] = {"model": engines.MODEL, "messages": request.messages, "max_tokens": answer_tokens}
    fields |= {"temperature": 0, "stream": request.stream} | request.fields
    if request.stream:
        fields["stream_options"] = {"include_usage": True}
    headers = {"Content-Type": "application/json", "X-Request-ID": id}
    data = json.dumps(fields, ensure_ascii=request.turn % 2 == 0).encode()  # escapes or not: the text is the same
    asked = urllib.request.Request(f"{url}/v1/chat/completions", data, headers)
    try:
        with urllib.request.urlopen(asked, timeout=120) as answer:
            return streamed(answer) if request.stream else whole(json.load(answer))
    except urllib.error.HTTPError as error:
        raise ParityError(f"{id}: {error.code} {error.read(400).decode(errors='replace')}") from None


def whole(answer: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return answer["choices"][0]["message"]["content"] or "", answer["usage"]


def streamed(answer: http.client.HTTPResponse) -> tuple[str, dict[str, Any]]:
    text, usage = "", None
    for line in answer:
        if line.startswith(b"data: {"):
            event = json.loads(line[6:])
            usage = event.get("usage") or usage
            text += "".join(choice["delta"].get("content") or "" for choice in event["choices"])
    if usage is None:
        raise ParityError("The stream ended without usage.")
    return text, usage


# MARK: The router


def status_of(url: str) -> Any:
    """What it says of its tokens, if it says something."""
    with urllib.request.urlopen(f"{url}/proxy/status", timeout=10) as answer:
        return json.load(answer).get("tokens")


def add_router_counts(url: str, records: Sequence[Record]) -> None:
    """From its request log, where a request appears a moment after its end."""
    deadline = time.monotonic() + LOG_WITHIN_S
    while True:
        rows = request_log(url)
        missing = [record.id for record in records if record.id not in rows]
        if not missing:
            break
        if time.monotonic() > deadline:
            raise ParityError(f"{len(missing)} requests are not in the router's log, {missing[0]} for one.")
        time.sleep(0.2)
    for record in records:
        row = rows[record.id]
        record.router, record.router_cached = row["tokens"], row["matched_tokens"]


def request_log(url: str) -> dict[str, dict[str, Any]]:
    with urllib.request.urlopen(f"{url}/proxy/metrics/export?format=jsonl", timeout=10) as answer:
        rows = [json.loads(line) for line in answer if line.strip()]
    return {row["request_id"]: row for row in rows}


# MARK: Output


def report(arguments: argparse.Namespace, records: Sequence[Record], statuses: dict[str, Any]) -> dict[str, Any]:
    by_template: dict[str, list[Record]] = collections.defaultdict(list)
    for record in records:
        by_template[record.template].append(record)
    allowed = max(arguments.block_tokens, block_of(arguments.engine))
    return {
        "engine": arguments.engine,
        "day": datetime.date.today().isoformat(),
        "seed": arguments.seed,
        "router": None if arguments.gotoni_proxy is None else arguments.tokenizer,
        "block_tokens": arguments.block_tokens,
        "within_tokens": allowed,
        "answer_tokens": arguments.answer_tokens,
        "templates": [row(name, found, allowed) for name, found in by_template.items()],
        "router_status": statuses,
        "records": [dataclasses.asdict(record) for record in records],
    }


def row(name: str, records: Sequence[Record], allowed: int) -> dict[str, Any]:
    off = [record.cached_off() for record in records]
    return {
        "template": name,
        "requests": len(records),
        "prompt_tokens": sum(record.engine for record in records),
        "reference_agrees": sum(record.reference == record.engine for record in records),
        "agree": sum(record.agrees() for record in records),
        "own": sum(record.is_known() for record in records),
        "engine_cached": sum(record.engine_cached for record in records),
        "predicted_cached": sum(record.predicted() for record in records),
        "within": sum(record.is_within(allowed) for record in records),
        "least_off": min(off),
        "most_off": max(off),
        "differ_by_kind": dict(collections.Counter(record.kind for record in records if record.is_wrong())),
    }


def print_report(results: dict[str, Any], records: Sequence[Record]) -> None:
    has_router = results["router"] is not None
    who = "the router" if has_router else "the reference alone"
    print(f"\n{results['engine']} and {who}, blocks of {results['block_tokens']} tokens, seed {results['seed']}\n")
    print_row(has_router, "", "requests", "tokens", "reference =", "router =", "its own", "cached", "predicted",
              f"within {results['within_tokens']}", "off by")  # fmt: skip
    for item in results["templates"]:
        off = f"{item['least_off']:+} .. {item['most_off']:+}"
        keys = ("requests", "prompt_tokens", "reference_agrees", "agree", "own", "engine_cached", "predicted_cached")
        print_row(has_router, item["template"], *(item[key] for key in keys), item["within"], off)
    for item in results["templates"]:
        if item["differ_by_kind"]:
            kinds = ", ".join(f"{count} {kind}" for kind, count in item["differ_by_kind"].items())
            print(f"\n{item['template']} differs: {kinds}")
            print_examples([record for record in records if record.template == item["template"] and record.is_wrong()])


def print_row(has_router: bool, name: str, *cells: Any) -> None:
    widths = (9, 9, 13, 10, 9, 9, 11, 11, 13)
    shown = [f"{cell:>{width}}" for index, (cell, width) in enumerate(zip(cells, widths)) if index != 3 or has_router]
    print(f"{name:<16}" + "".join(shown))


def print_examples(records: Sequence[Record]) -> None:
    for record in records[:SHOWN]:
        router = "" if record.router is None else f", router {record.router}"
        print(f"  {record.id} {record.kind}: engine {record.engine}, reference {record.reference}{router}")


def say(text: str) -> None:
    print(f"- {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
