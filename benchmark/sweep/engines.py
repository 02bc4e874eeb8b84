"""What a sweep asks of engines: empty caches before a run, and what they counted."""

from __future__ import annotations

import dataclasses
import json
import re
import time

from control import NOT_FOUND, AnswerError, BenchError, Control

IDLE_S = 60.0
POLL_S = 0.1


@dataclasses.dataclass(frozen=True)
class Kind:
    """Names of one engine's metrics, and how its prefix cache is emptied."""

    name: str
    flush: str
    busy: tuple[str, ...]
    requests: str
    prompt_tokens: str
    cached_tokens: str
    flush_needs: str  # said where the engine does not know the call


# Told apart by their metrics' names. gotoni-engine speaks as SGLang does.
KINDS = (
    Kind(
        "SGLang", "/flush_cache", ("sglang:num_running_reqs", "sglang:num_queue_reqs"),
        "sglang:num_requests_total", "sglang:prompt_tokens_total", "sglang:cached_tokens_total", "",
    ),
    # vLLM counts in tokens what of the prompts was looked up and found.
    Kind(
        "vLLM", "/reset_prefix_cache", ("vllm:num_requests_running", "vllm:num_requests_waiting"),
        "vllm:request_success_total", "vllm:prompt_tokens_total", "vllm:prefix_cache_hits_total",
        "; vLLM has it only if VLLM_SERVER_DEV_MODE=1 is in its environment",
    ),
)  # fmt: skip


def sums(page: str) -> dict[str, float]:
    """Of a Prometheus page: each metric's values over all its labels."""
    found: dict[str, float] = {}
    for name, value in re.findall(r"^([a-zA-Z_:][\w:]*)(?:\{.*\})? (\S+)", page, re.MULTILINE):
        try:
            found[name] = found.get(name, 0.0) + float(value)
        except ValueError as error:
            raise BenchError(f"metric {name} has the value {value[:40]}") from error
    return found


def kind_of(url: str, values: dict[str, float]) -> Kind:
    for kind in KINDS:
        if all(name in values for name in kind.busy):
            return kind
    names = " and ".join(kind.name for kind in KINDS)
    raise BenchError(
        f"{url}/metrics has neither the metrics of {names}: its cache cannot be flushed (--keep-engine-caches)"
    )


def says_no(answer: str) -> bool:
    """vLLM answers 200 and {"success": false} if it did not; older ones answer nothing, and SGLang with a sentence."""
    try:
        read = json.loads(answer)
    except ValueError:
        return False
    return isinstance(read, dict) and read.get("success") is False


class Engine:
    """One engine, asked directly."""

    def __init__(self, url: str, control: Control) -> None:
        self.url = url
        self.control = control

    def values(self) -> dict[str, float]:
        return sums(self.control.text("GET", f"{self.url}/metrics"))

    def wait_until_idle(self) -> None:
        """Requests that a client gave up end a little later; an engine that works does not flush."""
        deadline = time.monotonic() + IDLE_S
        while True:
            values = self.values()
            kind = kind_of(self.url, values)
            if sum(values[name] for name in kind.busy) == 0:
                return
            if time.monotonic() > deadline:
                raise BenchError(f"{self.url} still had requests after {IDLE_S:.0f} s: does somebody else use it?")
            time.sleep(POLL_S)

    def flush(self) -> None:
        """Waits until it is idle, then empties the prefix cache. Errors: BenchError, also for an unknown kind."""
        self.wait_until_idle()
        kind = kind_of(self.url, self.values())
        try:
            answer = self.control.text("POST", f"{self.url}{kind.flush}")
        except AnswerError as error:
            raise BenchError(f"{error}{kind.flush_needs if error.status == NOT_FOUND else ''}") from error
        if says_no(answer):
            raise BenchError(f"{self.url}{kind.flush} says that the cache was not emptied: {answer[:300].strip()}")

    def counters(self) -> dict[str, float] | None:
        """Since it was started; none of an engine whose metrics are not known."""
        values = self.values()
        try:
            kind = kind_of(self.url, values)
        except BenchError:
            return None
        return {
            "requests": values.get(kind.requests, 0.0),
            "prompt_tokens": values.get(kind.prompt_tokens, 0.0),
            "cached_tokens": values.get(kind.cached_tokens, 0.0),
        }
