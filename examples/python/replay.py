"""Replays a trace of LLM requests through gotoni, once per policy, and compares the policies.

The trace is in Mooncake's JSONL format: one request a line with `timestamp` (ms), `input_length`,
`output_length` (tokens) and `hash_ids`, one id per block of 512 prompt tokens, where equal ids are equal
prefixes. Three servers are played: RTT 37, 279 and 456 ms, one prefill at a time, 0.094 ms per uncached
token, then 10 ms per answer token. The model is a toy that shows what a policy does, not what you would
measure; it believes the router about what is cached.

    PYTHONPATH=bindings/python GOTONI_LIBRARY=build/lib/libgotoni.so.0 python3 examples/python/replay.py
"""
from __future__ import annotations

import argparse
import functools
import heapq
import itertools
import json
import pathlib
import random
import sys
import time
from array import array
from typing import Any, Callable, NamedTuple

import gotoni

try:
    import numpy
except ImportError:  # only slower: see `block`
    numpy = None

BLOCK = 512
VOCABULARY = 151_936
RTT_MS = {1: 37.0, 2: 279.0, 3: 456.0}
PREFILL_MS_PER_TOKEN = 0.094
DECODE_MS_PER_TOKEN = 10.0
BATCH_MS = 3000.0
SMALL_TRACE = pathlib.Path(__file__).resolve().parents[1] / "traces" / "small.jsonl"


# ===== The trace


class TraceError(Exception):
    """One sentence about what is wrong with a trace."""


class Request(NamedTuple):
    arrival_ms: float
    input_length: int
    output_length: int
    hash_ids: list[int]
    session: int


def read_trace(path: pathlib.Path, limit: int | None, time_scale: float, chance: random.Random) -> list[Request]:
    rows: list[tuple[float, int, int, list[int]]] = []
    try:
        with path.open() as lines:
            for number, line in enumerate(itertools.islice(lines, limit), start=1):
                rows.append(read_row(f"{path}, line {number}", line))
    except (OSError, UnicodeDecodeError) as error:
        raise TraceError(f"The trace cannot be read: {error}.") from None
    if not rows:
        raise TraceError(f"{path} holds no requests.")
    rows.sort(key=lambda row: row[0])
    arrivals = spread([row[0] for row in rows], chance)
    sessions = infer_sessions(rows)
    return [
        Request(arrival * time_scale, *row[1:], session) for arrival, row, session in zip(arrivals, rows, sessions)
    ]


def read_row(place: str, line: str) -> tuple[float, int, int, list[int]]:
    try:
        row = json.loads(line)
        timestamp, ids = float(row["timestamp"]), [int(id) for id in row["hash_ids"]]
        lengths = int(row["input_length"]), int(row["output_length"])
    except (ValueError, TypeError, KeyError, OverflowError) as error:
        raise TraceError(f"{place} is no Mooncake request ({type(error).__name__}: {error}).") from None
    if not 0 <= timestamp < float("inf") or min(*lengths, *ids) < 0:
        raise TraceError(f"{place} holds a number that is negative or no number.")
    if len(ids) * BLOCK < lengths[0]:
        raise TraceError(f"{place} has {len(ids)} hash_ids, too few for {lengths[0]} tokens in blocks of {BLOCK}.")
    return timestamp, *lengths, ids


def spread(timestamps: list[float], chance: random.Random) -> list[float]:
    """Mooncake's timestamps are those of 3-second batches: rows that share one are spread over its batch."""
    arrivals: list[float] = []
    for timestamp, group in itertools.groupby(timestamps):
        count = len(list(group))
        gap = min([BATCH_MS, *(t - timestamp for t in timestamps[len(arrivals) + count :][:1])])
        arrivals += sorted(timestamp + gap * chance.random() for _ in range(count)) if count > 1 else [timestamp]
    return arrivals


def infer_sessions(rows: list[tuple[float, int, int, list[int]]]) -> list[int]:
    """Traces name no sessions: a request belongs to that of the longest earlier prompt which it continues."""
    session_of_last_block: dict[int, int] = {}
    seen: set[int] = set()
    sessions: list[int] = []
    for _, input_length, _, ids in rows:
        known = (session_of_last_block[id] for id in reversed(ids) if id in session_of_last_block)
        session = next(known, len(sessions) + 1)
        sessions.append(session)
        whole_blocks = input_length // BLOCK
        if whole_blocks and ids[whole_blocks - 1] not in seen:  # else it ends inside a shared system prompt
            session_of_last_block[ids[whole_blocks - 1]] = session
        seen.update(ids)
    return sessions


# ===== Tokens

MASK = (1 << 64) - 1


def splitmix64(x: Any, mask: Callable[[Any], Any]) -> Any:
    """Mixes 64 bits well. `mask` cuts to 64 bits, which numpy's integers do by themselves."""
    x = mask(x + 0x9E3779B97F4A7C15)
    x = mask((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9)
    x = mask((x ^ (x >> 27)) * 0x94D049BB133111EB)
    return x ^ (x >> 31)


@functools.cache
def block(hash_id: int, salt: int) -> bytes:
    """The 512 token ids that a hash id stands for, as 32-bit integers: the same with and without numpy.

    Kept for the next policy: 2 KB for each distinct id of the trace.
    """
    first = (hash_id * (1 << 20) + salt) & MASK
    if numpy is not None:
        seeds = numpy.arange(BLOCK, dtype=numpy.uint64) + numpy.uint64(first)
        return (splitmix64(seeds, lambda x: x) % VOCABULARY).astype(numpy.uint32).tobytes()
    return array("I", [splitmix64(first + j, lambda x: x & MASK) % VOCABULARY for j in range(BLOCK)]).tobytes()


def prompt(request: Request, salt: int) -> memoryview:
    data = b"".join([block(id, salt) for id in request.hash_ids])
    return memoryview(data).cast("I")[: request.input_length]


# ===== The servers


class Server:
    """A toy engine: prefills one prompt after the other; decoding slows nobody."""

    def __init__(self, rtt_ms: float) -> None:
        self.rtt_ms = rtt_ms
        self.free_ms = 0.0  # when its last prefill so far ends
        self.requests = 0
        self.tokens = 0

    def first_token_ms(self, arrival_ms: float, ticket: gotoni.Ticket) -> float:
        """Takes the request in; gives when its first token is back at the router."""
        self.requests += 1
        self.tokens += ticket.prompt_tokens
        uncached = ticket.prompt_tokens - ticket.matched_tokens
        self.free_ms = max(arrival_ms + self.rtt_ms / 2, self.free_ms) + uncached * PREFILL_MS_PER_TOKEN
        return self.free_ms + self.rtt_ms / 2


class Result(NamedTuple):
    policy: str
    requests: int
    matched_share: float
    busiest_by_requests: float
    busiest_by_tokens: float
    mean_wait_s: float
    decisions_per_second: float


def replay(policy: str, trace: list[Request], seed: int, kv_capacity_tokens: int, knobs: dict[str, float]) -> Result:
    servers = {id: Server(rtt_ms) for id, rtt_ms in RTT_MS.items()}
    events: list[tuple[float, int, Callable[..., None]]] = []  # (when, order, what): heapq never compares `what`
    order = itertools.count()
    waits = 0.0
    deciding_s = 0.0
    with gotoni.Router(policy=policy, seed=seed, default_kv_capacity_tokens=kv_capacity_tokens) as router:
        # A trace too heavy for three servers queues for longer than a live router would believe in a ticket.
        router.knobs["ticket_silence_ms"] = gotoni.knobs()["ticket_silence_ms"].maximum
        for name, value in knobs.items():
            router.knobs[name] = value
        for id, server in servers.items():
            router.add_server(id, now_ns=0)
            router.observe_rtt(id, server.rtt_ms, now_ns=0)

        def happen_until(ms: float) -> None:
            while events and events[0][0] <= ms:
                when, _, act = heapq.heappop(events)
                act(now_ns=round(when * 1e6))

        for number, request in enumerate(trace):
            show_progress(policy, number, len(trace))
            happen_until(request.arrival_ms)
            tokens = prompt(request, seed)
            now_ns = round(request.arrival_ms * 1e6)
            begin = time.perf_counter()
            ticket = router.route(tokens, session=request.session, now_ns=now_ns)
            ticket.commit(now_ns=now_ns)
            deciding_s += time.perf_counter() - begin

            first_token_ms = servers[ticket.server].first_token_ms(request.arrival_ms, ticket)
            end_ms = first_token_ms + request.output_length * DECODE_MS_PER_TOKEN
            waits += first_token_ms - request.arrival_ms
            heapq.heappush(events, (first_token_ms, next(order), ticket.first_token))
            heapq.heappush(events, (end_ms, next(order), functools.partial(ticket.finish, "ok")))
        happen_until(float("inf"))
        stats = router.stats()
    return Result(
        policy,
        len(trace),
        stats.matched_tokens / max(stats.prompt_tokens, 1),
        relative_maximum([server.requests for server in servers.values()]),
        relative_maximum([server.tokens for server in servers.values()]),
        waits / len(trace) / 1000,
        len(trace) / deciding_s,
    )


def relative_maximum(values: list[int]) -> float:
    """The largest relative to the mean: 1 if all are equal."""
    return max(values) * len(values) / max(sum(values), 1)


# ===== Output


def show_progress(policy: str, number: int, total: int) -> None:
    if number % 100 == 0 and sys.stderr.isatty():
        print(f"\r\033[K{policy}: {number:,} of {total:,}", end="", file=sys.stderr, flush=True)


def table(results: list[Result]) -> str:
    lines = [
        f"{'':<17}{'matched':>9}{'busiest server':>22}{'mean wait':>12}{'decisions':>12}",
        f"{'policy':<17}{'tokens':>9}{'by requests':>12}{'by tokens':>10}{'first token':>12}{'per second':>12}",
    ]
    for row in results:
        lines.append(
            f"{row.policy:<17}{row.matched_share:>9.1%}{row.busiest_by_requests:>12.2f}{row.busiest_by_tokens:>10.2f}"
            f"{row.mean_wait_s:>10.2f} s{row.decisions_per_second:>12,.0f}"
        )
    return "\n".join(lines)


EXPLANATION = """\
matched tokens: share of prompt tokens the router believed cached on the chosen server
busiest server: its share relative to the mean; 1.00 is even, 3.00 is all on one
mean wait:      from arrival to first token in a toy where decoding slows nobody down; gorgo makes room for
                decoding (--knob running_cost_factor=0 tells it not to). One seed says little: try others
decisions:      route and commit from Python, nothing else counted"""


def policy_names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    for name in names:
        if name not in gotoni.policies():
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(gotoni.policies())}")
    return names


def knob_setting(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        return name, float(value)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=NUMBER, such as running_cost_factor=0") from None


def positive(number: Callable[[str], Any]) -> Callable[[str], Any]:
    """An argument type: a number above zero."""

    def parse(text: str) -> Any:
        value = number(text)
        if not 0 < value < float("inf"):
            raise argparse.ArgumentTypeError(f"{text} is not above zero")
        return value

    parse.__name__ = number.__name__  # argparse says: invalid int value
    return parse


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trace", type=pathlib.Path, default=SMALL_TRACE, metavar="FILE", help="[%(default)s]")
    parser.add_argument(
        "--policies", type=policy_names, default=",".join(gotoni.policies()), metavar="A,B", help="[%(default)s]"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="N", help="for ties, arrivals and tokens [%(default)s]")
    parser.add_argument(
        "--time-scale",
        type=positive(float),
        default=1.0,
        metavar="X",
        help="stretches the time between arrivals: 2 is half the load [%(default)s]",
    )
    parser.add_argument(
        "--kv-capacity",
        type=positive(int),
        default=1_000_000,
        metavar="TOKENS",
        help="KV cache of each server [%(default)s]",
    )
    parser.add_argument(
        "--knob", type=knob_setting, action="append", default=[], metavar="NAME=NUMBER", help="sets a knob; repeatable"
    )
    parser.add_argument("--limit", type=positive(int), metavar="N", help="only the first N lines of the trace")
    parser.add_argument("--json", type=pathlib.Path, metavar="FILE", help="also write the results as JSON")
    options = parser.parse_args()

    try:
        trace = read_trace(options.trace, options.limit, options.time_scale, random.Random(options.seed))
        knobs = dict(options.knob)
        replay(options.policies[0], trace[:200], options.seed, options.kv_capacity, knobs)  # warms the machine up
        results = [replay(policy, trace, options.seed, options.kv_capacity, knobs) for policy in options.policies]
    except (TraceError, gotoni.GotoniError) as error:
        sys.exit(f"replay.py: {error}")
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)

    tokens = sum(request.input_length for request in trace)
    minutes = (trace[-1].arrival_ms - trace[0].arrival_ms) / 60_000
    print(f"{len(trace):,} requests, {tokens:,} prompt tokens, {minutes:.1f} minutes of {options.trace.name}")
    print(f"3 servers, RTT {', '.join(f'{rtt:.0f}' for rtt in RTT_MS.values())} ms\n")
    print(table(results))
    print(f"\n{EXPLANATION}")
    if options.json:
        options.json.write_text(json.dumps([row._asdict() for row in results], indent=2) + "\n")


if __name__ == "__main__":
    main()
