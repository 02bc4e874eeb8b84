"""The router: which server gets which prompt."""
import time
from ctypes import byref, c_char, c_int32, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from types import TracebackType
from typing import Any, Callable, Iterable, Optional, Sequence, Union

from ._abi import (
    GOTONI_E_ARGUMENT,
    GOTONI_E_BUFFER,
    GOTONI_E_NO_SERVER,
    GOTONI_E_RANGE,
    GOTONI_E_SATURATED,
    GOTONI_METRIC_INCARNATION,
    GOTONI_METRIC_KV_CAPACITY_TOKENS,
    GOTONI_METRIC_QUEUED_REQUESTS,
    GOTONI_METRIC_QUEUED_TOKENS,
    GOTONI_METRIC_RUNNING_LIMIT,
    GOTONI_METRIC_RUNNING_REQUESTS,
    GOTONI_METRIC_RUNNING_TOKENS,
    gotoni_candidate,
    gotoni_config,
    gotoni_decision,
    gotoni_explain,
    gotoni_kv_cleared_event,
    gotoni_kv_removed_event,
    gotoni_kv_stored,
    gotoni_kv_stored_event,
    gotoni_match,
    gotoni_load,
    gotoni_metrics,
    gotoni_observe_metrics,
    gotoni_observe_others,
    gotoni_observe_rtt,
    gotoni_policy_get,
    gotoni_policy_name,
    gotoni_policy_set,
    gotoni_prefix_clear,
    gotoni_prefix_clear_server,
    gotoni_prefix_insert,
    gotoni_prefix_remove,
    gotoni_prefix_stats,
    gotoni_prefix_stats_get,
    gotoni_request,
    gotoni_route,
    gotoni_route_batch,
    gotoni_router_check,
    gotoni_router_create,
    gotoni_router_destroy,
    gotoni_server,
    gotoni_server_add,
    gotoni_server_get,
    gotoni_server_info,
    gotoni_server_list,
    gotoni_server_mark,
    gotoni_server_remove,
    gotoni_server_update,
    gotoni_snapshot_load,
    gotoni_snapshot_save,
    gotoni_stats,
    gotoni_stats_get,
    gotoni_tune_weights,
    gotoni_tuned_weight,
)
from ._inputs import Key, Tokens, address, array_address, as_key, keys, lend, request, u32, u64
from .errors import ArgumentError, GotoniError, error_for
from .results import STATES, Candidate, Decision, Match, PrefixStats, ServerInfo, State, Stats, TunedWeight, read
from .ticket import Ticket
from .tuner import Tuner
from .tuning import Knobs, policy_number

_DECISION_SIZE = sizeof(gotoni_decision)


class _Handle(c_void_p):
    """The C router. ctypes holds it during every call, so it is destroyed only when no call uses it."""

    def __del__(self, destroy: Callable[..., Any] = gotoni_router_destroy) -> None:
        destroy(self)


class Router:
    """Chooses a server for every request. Any method may be called from any thread.

    Zero means the library's default, everywhere. `clock` gives the present in nanoseconds; every method that
    needs the time also takes it as `now_ns`, for tests and simulations.
    """

    def __init__(
        self,
        *,
        block_tokens: int = 0,
        seed: int = 0,
        memory_budget_bytes: int = 0,
        max_prompt_tokens: int = 0,
        default_kv_capacity_tokens: int = 0,
        max_servers: int = 0,
        max_tickets: int = 0,
        policy: str = "gorgo",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        config = gotoni_config(
            sizeof(gotoni_config),
            u32(block_tokens, "block_tokens"),
            u64(seed, "seed"),
            u64(memory_budget_bytes, "memory_budget_bytes"),
            u64(max_prompt_tokens, "max_prompt_tokens"),
            u64(default_kv_capacity_tokens, "default_kv_capacity_tokens"),
            u32(max_servers, "max_servers"),
            u32(max_tickets, "max_tickets"),
        )
        handle = _Handle()
        if status := gotoni_router_create(config, byref(handle)):
            raise error_for(status)
        self._handle: Optional[_Handle] = handle
        self._clock = clock
        self.policy = policy

    def close(self) -> None:
        """Frees what the router holds; open tickets vanish. Later calls raise ArgumentError."""
        self._handle = None

    @property
    def closed(self) -> bool:
        return self._handle is None

    def __enter__(self) -> "Router":
        return self

    def __exit__(
        self,
        kind: Optional[type[BaseException]],
        error: Optional[BaseException],
        trace: Optional[TracebackType],
    ) -> None:
        self.close()

    def check(self) -> None:
        """Checks the invariants of everything held. Slow; raises CorruptError on a defect."""
        self._call(gotoni_router_check)

    # ===== Servers

    def add_server(
        self, id: int, *, max_requests: int = 0, kv_capacity_tokens: int = 0, now_ns: Optional[int] = None
    ) -> None:
        """Adds a server, up. `max_requests` 0: no limit. `kv_capacity_tokens` 0: the router's default."""
        self._call(gotoni_server_add, _server(id, max_requests, kv_capacity_tokens), self._now(now_ns))

    def update_server(
        self, id: int, *, max_requests: int = 0, kv_capacity_tokens: int = 0, now_ns: Optional[int] = None
    ) -> None:
        """Replaces both limits of a server; a smaller cache evicts at once."""
        self._call(gotoni_server_update, _server(id, max_requests, kv_capacity_tokens), self._now(now_ns))

    def mark_server(self, id: int, state: State, *, now_ns: Optional[int] = None) -> None:
        """Sets a server 'up', 'draining' (nothing new) or 'down' (nothing new, its prefixes forgotten)."""
        if state not in STATES:
            raise ArgumentError(GOTONI_E_ARGUMENT, f"The state {state!r} is none of {', '.join(STATES)}.")
        self._call(gotoni_server_mark, _id(id), STATES.index(state), self._now(now_ns))

    def remove_server(self, id: int, *, now_ns: Optional[int] = None) -> None:
        """Removes a server and its prefixes, and ends its tickets."""
        self._call(gotoni_server_remove, _id(id), self._now(now_ns))

    def servers(self) -> list[int]:
        """The ids of all servers, sorted."""
        status, (ids,) = _fill(lambda *out: gotoni_server_list(self._handle, *out), c_uint64)
        self._check(status)
        return sorted(ids)

    def server(self, id: int, *, now_ns: Optional[int] = None) -> ServerInfo:
        """What is known about one server."""
        row = gotoni_server_info(sizeof(gotoni_server_info))
        self._call(gotoni_server_get, _id(id), self._now(now_ns), row)
        return ServerInfo.from_row(row)

    # ===== Requests

    def route(
        self,
        tokens: Tokens,
        *,
        namespace: int = 0,
        session: Optional[Key] = None,
        exclude: Optional[Iterable[int]] = None,
        now_ns: Optional[int] = None,
    ) -> Ticket:
        """Chooses a server for a prompt and holds a place on it until the ticket is finished.

        `session` is read by the policy session-affinity; `exclude` names servers that must not be chosen.
        """
        row = gotoni_decision(_DECISION_SIZE)
        asked = request(tokens, namespace, session, exclude)
        if status := gotoni_route(self._handle, asked, self._now(now_ns), row):
            raise self._error(status)
        return Ticket(self, row)

    def route_batch(
        self,
        prompts: Iterable[Tokens],
        *,
        namespace: int = 0,
        sessions: Optional[Sequence[Optional[Key]]] = None,
        exclude: Optional[Iterable[int]] = None,
        now_ns: Optional[int] = None,
    ) -> list[Union[Ticket, GotoniError]]:
        """Routes prompts in order in one call. What was refused stands in the list as its error."""
        prompts = list(prompts)
        if sessions is not None and len(sessions) != len(prompts):
            text = f"There are {len(prompts)} prompts but {len(sessions)} sessions."
            raise ArgumentError(GOTONI_E_ARGUMENT, text)
        exclude = None if exclude is None else list(exclude)
        asked = [
            request(tokens, namespace, sessions[index] if sessions else None, exclude)
            for index, tokens in enumerate(prompts)
        ]
        count = len(asked)
        rows = (gotoni_decision * count)()
        statuses = (c_int32 * count)()
        if count:
            rows[0].struct_size = _DECISION_SIZE
        requests = (gotoni_request * count)(*asked)
        self._call(gotoni_route_batch, requests, count, self._now(now_ns), rows, statuses)
        return [
            error_for(status) if status else Ticket(self, gotoni_decision.from_buffer_copy(row))
            for status, row in zip(statuses, rows)
        ]

    def explain(
        self,
        tokens: Tokens,
        *,
        namespace: int = 0,
        session: Optional[Key] = None,
        exclude: Optional[Iterable[int]] = None,
        now_ns: Optional[int] = None,
    ) -> tuple[list[Candidate], Optional[Decision]]:
        """The whole table behind the decision that `route` would take now, without taking it.

        The decision is None if no server could be chosen; the table's verdicts say why.
        """
        asked = request(tokens, namespace, session, exclude)
        now_ns = self._now(now_ns)
        decision = gotoni_decision(_DECISION_SIZE)

        def ask(rows: Any, capacity: int, count: Any) -> int:
            rows[0].struct_size = sizeof(gotoni_candidate)
            return gotoni_explain(self._handle, asked, now_ns, rows, capacity, count, decision)

        status, (rows,) = _fill(ask, gotoni_candidate)
        table = [Candidate.from_row(row) for row in rows]
        if status in (GOTONI_E_NO_SERVER, GOTONI_E_SATURATED):
            return table, None
        self._check(status)
        return table, Decision(decision)

    # ===== Observations

    def observe_rtt(self, id: int, rtt_ms: float, *, now_ns: Optional[int] = None) -> None:
        """A round trip time sample in milliseconds; 0 is a fine value for a server on this host."""
        if not 0 <= rtt_ms < float("inf"):
            raise error_for(GOTONI_E_RANGE)
        self._call(gotoni_observe_rtt, _id(id), u64(round(rtt_ms * 1e6), "The round trip time"), self._now(now_ns))

    def observe_metrics(
        self,
        id: int,
        *,
        queued_requests: Optional[int] = None,
        running_requests: Optional[int] = None,
        queued_tokens: Optional[int] = None,
        running_tokens: Optional[int] = None,
        kv_capacity_tokens: Optional[int] = None,
        incarnation: Optional[int] = None,
        running_limit: Optional[int] = None,
        now_ns: Optional[int] = None,
    ) -> None:
        """One poll of a server's metrics. None means unknown, which is not zero.

        `incarnation` is any number that changes when the engine restarts, such as its start time;
        `running_limit` the most requests that it runs at one time.
        """
        metrics = gotoni_metrics(sizeof(gotoni_metrics))
        for bit, name, value in (
            (GOTONI_METRIC_QUEUED_REQUESTS, "queued_requests", queued_requests),
            (GOTONI_METRIC_RUNNING_REQUESTS, "running_requests", running_requests),
            (GOTONI_METRIC_QUEUED_TOKENS, "queued_tokens", queued_tokens),
            (GOTONI_METRIC_RUNNING_TOKENS, "running_tokens", running_tokens),
            (GOTONI_METRIC_KV_CAPACITY_TOKENS, "kv_capacity_tokens", kv_capacity_tokens),
            (GOTONI_METRIC_INCARNATION, "incarnation", incarnation),
            (GOTONI_METRIC_RUNNING_LIMIT, "running_limit", running_limit),
        ):
            if value is not None:
                metrics.known |= bit
                setattr(metrics, name, u64(value, name))
        self._call(gotoni_observe_metrics, _id(id), metrics, self._now(now_ns))

    def observe_others(
        self,
        id: int,
        *,
        queued_requests: int = 0,
        running_requests: int = 0,
        queued_tokens: int = 0,
        running_tokens: int = 0,
        owed_tokens: int = 0,
        now_ns: Optional[int] = None,
    ) -> None:
        """What other routers say that they have at this server, all together, as each one's `server(id)` tells it.

        It replaces what was said before, and counts as long as metrics do; who has fallen silent is yours to leave out, and all
        zeros say that nothing is there. `owed_tokens` are those of the queued that are not believed cached.
        """
        load = gotoni_load(sizeof(gotoni_load))
        for name, value in (
            ("queued_requests", queued_requests),
            ("running_requests", running_requests),
            ("queued_tokens", queued_tokens),
            ("running_tokens", running_tokens),
            ("owed_tokens", owed_tokens),
        ):
            setattr(load, name, u64(value, name))
        self._call(gotoni_observe_others, _id(id), load, self._now(now_ns))

    def kv_stored(
        self,
        id: int,
        hashes: Iterable[Key],
        tokens: Tokens,
        block_size: int,
        *,
        parent: Optional[Key] = None,
        namespace: int = 0,
        now_ns: Optional[int] = None,
    ) -> None:
        """The engine stored consecutive blocks of one prompt: their hashes, and all their tokens.

        `parent` is the hash of the block they follow; None if they begin a prompt.
        """
        names = keys(hashes)
        view, start = lend(tokens)
        if len(view) != len(names) * block_size:
            text = f"{len(names)} blocks of {block_size} tokens are not the {len(view)} tokens given."
            raise ArgumentError(GOTONI_E_ARGUMENT, text)
        event = gotoni_kv_stored(
            struct_size=sizeof(gotoni_kv_stored),
            block_size=u32(block_size, "block_size"),
            namespace_key=u64(namespace, "The namespace"),
            has_parent=parent is not None,
            parent_hash=0 if parent is None else as_key(parent),
            block_count=len(names),
            hashes=array_address(names),
            tokens=start,
        )
        self._call(gotoni_kv_stored_event, _id(id), event, self._now(now_ns))

    def kv_removed(self, id: int, hashes: Iterable[Key], *, now_ns: Optional[int] = None) -> None:
        """The engine evicted these blocks."""
        names = keys(hashes)
        self._call(gotoni_kv_removed_event, _id(id), array_address(names), len(names), self._now(now_ns))

    def kv_cleared(self, id: int, *, now_ns: Optional[int] = None) -> None:
        """The engine emptied its cache."""
        self._call(gotoni_kv_cleared_event, _id(id), self._now(now_ns))

    # ===== Prefix trie

    def match(self, tokens: Tokens, *, namespace: int = 0) -> list[Match]:
        """Which servers hold a beginning of this prompt, longest first."""
        asked = request(tokens, namespace)
        status, (servers, matched) = _fill(lambda *out: gotoni_match(self._handle, asked, *out), c_uint64, c_uint64)
        self._check(status)
        return [Match(*row) for row in zip(servers, matched)]

    def insert(self, id: int, tokens: Tokens, *, namespace: int = 0, now_ns: Optional[int] = None) -> None:
        """Notes that a server holds this prompt."""
        self._call(gotoni_prefix_insert, _id(id), request(tokens, namespace), self._now(now_ns))

    def remove_prefix(
        self,
        id: int,
        tokens: Tokens,
        *,
        keep_tokens: int = 0,
        namespace: int = 0,
        now_ns: Optional[int] = None,
    ) -> None:
        """Forgets that a server holds this prompt behind its first `keep_tokens` tokens."""
        keep = u64(keep_tokens, "keep_tokens")
        self._call(gotoni_prefix_remove, _id(id), request(tokens, namespace), keep, self._now(now_ns))

    def clear_server(self, id: int, *, now_ns: Optional[int] = None) -> None:
        """Forgets all prefixes of one server."""
        self._call(gotoni_prefix_clear_server, _id(id), self._now(now_ns))

    def clear(self, *, now_ns: Optional[int] = None) -> None:
        """Forgets all prefixes of all servers."""
        self._call(gotoni_prefix_clear, self._now(now_ns))

    def prefix_stats(self) -> PrefixStats:
        """The shape of the prefix trie. Walks it; `stats` is cheaper."""
        row = gotoni_prefix_stats(sizeof(gotoni_prefix_stats))
        self._call(gotoni_prefix_stats_get, row)
        return read(PrefixStats, row)

    # ===== Policy and tuning

    @property
    def policy(self) -> str:
        """The policy in force, by name; set it to switch."""
        number = c_uint32()
        self._call(gotoni_policy_get, byref(number))
        return gotoni_policy_name(number.value).decode()

    @policy.setter
    def policy(self, name: str) -> None:
        self._call(gotoni_policy_set, policy_number(name))

    @property
    def knobs(self) -> Knobs:
        """The tunable numbers by name: `router.knobs['ms_per_token'] = 0.1`."""
        return Knobs(self)

    @property
    def tuner(self) -> Tuner:
        """Looks for better weights of the policy while requests are served: `router.tuner.start()`."""
        return Tuner(self)

    def _tuned_weights(self) -> list[TunedWeight]:
        def ask(rows: Any, *rest: Any) -> int:
            rows[0].struct_size = sizeof(gotoni_tuned_weight)
            return gotoni_tune_weights(self._handle, rows, *rest)

        status, (rows,) = _fill(ask, gotoni_tuned_weight)
        self._check(status)
        return [TunedWeight.from_row(row) for row in rows]

    # ===== Statistics

    def stats(self) -> Stats:
        """Counters since the router was made. Cheap."""
        row = gotoni_stats(sizeof(gotoni_stats))
        self._call(gotoni_stats_get, row)
        return read(Stats, row)

    # ===== Snapshot

    def snapshot(self) -> bytes:
        """What would be slow to learn again, as bytes: servers, round trips, policy, knobs, prefixes, learned speeds."""
        status, (data,) = _fill(lambda *out: gotoni_snapshot_save(self._handle, *out), c_char)
        self._check(status)
        return data

    def load_snapshot(self, data: Union[bytes, bytearray, memoryview], *, now_ns: Optional[int] = None) -> None:
        """Replaces the router's state by a snapshot. Open tickets end. On an error nothing changes."""
        view = memoryview(data)
        self._call(gotoni_snapshot_load, address(view), view.nbytes, self._now(now_ns))

    # ===== Shared by the methods above and by tickets

    def _now(self, now_ns: Optional[int]) -> int:
        return self._clock() if now_ns is None else u64(now_ns, "now_ns")

    def _call(self, function: Callable[..., Any], *arguments: Any) -> None:
        if status := function(self._handle, *arguments):
            raise self._error(status)

    def _check(self, status: int) -> None:
        if status:
            raise self._error(status)

    def _error(self, status: int) -> GotoniError:
        if self._handle is None:  # the library was given NULL and says so as ARGUMENT
            return ArgumentError(GOTONI_E_ARGUMENT, "The router is closed.")
        return error_for(status)


def _id(id: int) -> int:
    return u64(id, "A server id")


def _server(id: int, max_requests: int, kv_capacity_tokens: int) -> gotoni_server:
    return gotoni_server(
        sizeof(gotoni_server),
        u32(max_requests, "max_requests"),
        _id(id),
        u64(kv_capacity_tokens, "kv_capacity_tokens"),
    )


def _fill(call: Callable[..., int], *kinds: Any) -> tuple[int, list[Any]]:
    """Calls with arrays of these kinds, growing them until the results fit. Gives the status and the results."""
    capacity = 64
    while True:
        arrays = [(kind * capacity)() for kind in kinds]
        count = c_size_t()
        status = call(*arrays, capacity, byref(count))
        if status != GOTONI_E_BUFFER:
            return status, [entries[: count.value] for entries in arrays]
        capacity = count.value
