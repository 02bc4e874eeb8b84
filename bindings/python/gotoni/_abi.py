"""The C contract, mirrored: constants, structs and functions of gotoni.h, in the order of its sections.

Nothing here adds meaning; a test compares every name, number, field offset and prototype with the header.
"""
from ctypes import (
    POINTER,
    Structure,
    c_char_p,
    c_double,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Annotated, Optional, TypeVar, get_type_hints

from ._loading import functions_of, load

LIBRARY_NAME = "libgotoni.so.0"

_library = load(LIBRARY_NAME, "GOTONI_LIBRARY")
_function = functions_of(_library, LIBRARY_NAME)


# Field types: what Python reads and writes, and how C stores it. Memory that we lend is a plain address.
_u32 = Annotated[int, c_uint32]
_u64 = Annotated[int, c_uint64]
_i64 = Annotated[int, c_int64]
_size = Annotated[int, c_size_t]
_double = Annotated[float, c_double]
_text = Annotated[bytes, c_char_p]
_address = Annotated[Optional[int], c_void_p]

_Struct = TypeVar("_Struct", bound=type[Structure])


def _struct(mirror: _Struct) -> _Struct:
    """Turns the annotations into C fields, so that each is written once and type checkers see it."""
    hints = get_type_hints(mirror, include_extras=True)
    mirror._fields_ = [(name, hint.__metadata__[0]) for name, hint in hints.items()]
    return mirror


# ===== Version

GOTONI_ABI_VERSION = 0
GOTONI_VERSION = "0.1.0"

gotoni_abi_version = _function("gotoni_abi_version", c_uint32)
gotoni_version = _function("gotoni_version", c_char_p)

if gotoni_abi_version() != GOTONI_ABI_VERSION:
    raise ImportError(
        f"The loaded {LIBRARY_NAME} has ABI {gotoni_abi_version()}, but this package needs ABI {GOTONI_ABI_VERSION}."
    )

# ===== Status

_status = c_int32

GOTONI_OK = 0
GOTONI_E_ARGUMENT = -1
GOTONI_E_RANGE = -2
GOTONI_E_UNKNOWN_SERVER = -3
GOTONI_E_DUPLICATE_SERVER = -4
GOTONI_E_NO_SERVER = -5
GOTONI_E_SATURATED = -6
GOTONI_E_CAPACITY = -7
GOTONI_E_TICKET = -8
GOTONI_E_TICKET_ENDED = -9
GOTONI_E_UNKNOWN_POLICY = -10
GOTONI_E_UNKNOWN_KNOB = -11
GOTONI_E_BUFFER = -12
GOTONI_E_BLOCK_SIZE = -13
GOTONI_E_UNKNOWN_PARENT = -14
GOTONI_E_SNAPSHOT = -15
GOTONI_E_SNAPSHOT_VERSION = -16
GOTONI_E_MEMORY = -17
GOTONI_E_CORRUPT = -18
GOTONI_E_UNTUNABLE = -19

gotoni_status_text = _function("gotoni_status_text", c_char_p, _status)

# ===== Keys

gotoni_key = _function("gotoni_key", c_uint64, c_void_p, c_size_t)
gotoni_namespace_key = _function(
    "gotoni_namespace_key", c_uint64, c_char_p, c_size_t, c_char_p, c_size_t, c_char_p, c_size_t
)

# ===== Router

_router = c_void_p


@_struct
class gotoni_config(Structure):
    struct_size: _u32
    block_tokens: _u32
    seed: _u64
    memory_budget_bytes: _u64
    max_prompt_tokens: _u64
    default_kv_capacity_tokens: _u64
    max_servers: _u32
    max_tickets: _u32


gotoni_router_create = _function("gotoni_router_create", _status, POINTER(gotoni_config), POINTER(_router))
gotoni_router_destroy = _function("gotoni_router_destroy", None, _router)
gotoni_router_check = _function("gotoni_router_check", _status, _router)

# ===== Servers

GOTONI_SERVER_UP = 0
GOTONI_SERVER_DRAINING = 1
GOTONI_SERVER_DOWN = 2


@_struct
class gotoni_server(Structure):
    struct_size: _u32
    max_requests: _u32
    id: _u64
    kv_capacity_tokens: _u64


@_struct
class gotoni_server_info(Structure):
    struct_size: _u32
    state: _u32
    id: _u64
    max_requests: _u32
    metrics_known: _u32
    kv_capacity_tokens: _u64
    held_tokens: _u64
    rtt_ns: _i64
    queued_requests: _u64
    running_requests: _u64
    queued_tokens: _u64
    running_tokens: _u64
    foreign_queued_requests: _u64
    foreign_running_requests: _u64
    foreign_queued_tokens: _u64
    foreign_running_tokens: _u64
    predicted_cached_tokens: _u64
    reported_cached_tokens: _u64
    parity_reports: _u64
    kv_blocks_stored: _u64
    kv_blocks_removed: _u64
    kv_blocks_orphaned: _u64
    owed_tokens: _u64
    predictions: _u64
    prediction_bias_ms: _double
    prediction_error_ms: _double
    overhead_ms: _double
    prefill_ms_per_token: _double
    reading_ms_per_token: _double
    upload_round_trips: _double
    decode_ms: _double
    decode_ms_per_request: _double


gotoni_server_add = _function("gotoni_server_add", _status, _router, POINTER(gotoni_server), c_uint64)
gotoni_server_update = _function("gotoni_server_update", _status, _router, POINTER(gotoni_server), c_uint64)
gotoni_server_mark = _function("gotoni_server_mark", _status, _router, c_uint64, c_uint32, c_uint64)
gotoni_server_remove = _function("gotoni_server_remove", _status, _router, c_uint64, c_uint64)
gotoni_server_list = _function(
    "gotoni_server_list", _status, _router, POINTER(c_uint64), c_size_t, POINTER(c_size_t)
)
gotoni_server_get = _function(
    "gotoni_server_get", _status, _router, c_uint64, c_uint64, POINTER(gotoni_server_info)
)

# ===== Requests


@_struct
class gotoni_request(Structure):
    struct_size: _u32
    exclude_count: _u32
    tokens: _address
    token_count: _size
    namespace_key: _u64
    session_key: _u64
    exclude: _address


GOTONI_REASON_POLICY = 0
GOTONI_REASON_NO_MATCH = 1
GOTONI_REASON_NO_SESSION = 2


@_struct
class gotoni_decision(Structure):
    struct_size: _u32
    reason: _u32
    ticket: _u64
    server: _u64
    prompt_tokens: _u64
    matched_tokens: _u64
    cost_ns: _i64
    rtt_cost_ns: _i64
    prefill_cost_ns: _i64
    queued_cost_ns: _i64
    running_cost_ns: _i64
    policy: _u32
    eligible: _u32
    predicted_first_token_ns: _i64
    predicted_last_token_ns: _i64
    predicted_cost_ns: _i64
    trial: _u32
    reserved: _u32


GOTONI_ELIGIBLE = 0
GOTONI_NOT_UP = 1
GOTONI_AT_LIMIT = 2
GOTONI_EXCLUDED = 3


@_struct
class gotoni_candidate(Structure):
    struct_size: _u32
    verdict: _u32
    server: _u64
    matched_tokens: _u64
    uncached_tokens: _u64
    queued_requests: _u64
    running_requests: _u64
    queued_tokens: _u64
    running_tokens: _u64
    rtt_ns: _i64
    cost_ns: _i64
    rtt_cost_ns: _i64
    prefill_cost_ns: _i64
    queued_cost_ns: _i64
    running_cost_ns: _i64
    metrics_known: _u32
    chosen: _u32
    owed_tokens: _u64
    evicted_tokens: _u64
    predicted_network_ns: _i64
    predicted_upload_ns: _i64
    predicted_wait_ns: _i64
    predicted_prefill_ns: _i64
    predicted_decode_ns: _i64
    predicted_others_ns: _i64
    predicted_doubt_ns: _i64
    predicted_cost_ns: _i64


GOTONI_FINISH_OK = 0
GOTONI_FINISH_FAILED = 1
GOTONI_FINISH_CANCELLED = 2
GOTONI_FINISH_NOT_SENT = 3

gotoni_route = _function(
    "gotoni_route", _status, _router, POINTER(gotoni_request), c_uint64, POINTER(gotoni_decision)
)
gotoni_route_batch = _function(
    "gotoni_route_batch",
    _status,
    _router,
    POINTER(gotoni_request),
    c_size_t,
    c_uint64,
    POINTER(gotoni_decision),
    POINTER(_status),
)
gotoni_explain = _function(
    "gotoni_explain",
    _status,
    _router,
    POINTER(gotoni_request),
    c_uint64,
    POINTER(gotoni_candidate),
    c_size_t,
    POINTER(c_size_t),
    POINTER(gotoni_decision),
)
gotoni_commit = _function("gotoni_commit", _status, _router, c_uint64, c_uint64)
gotoni_first_token = _function("gotoni_first_token", _status, _router, c_uint64, c_uint64)
gotoni_progress = _function("gotoni_progress", _status, _router, c_uint64, c_uint64)
gotoni_finish = _function("gotoni_finish", _status, _router, c_uint64, c_uint32, c_uint64)

# ===== Observations

gotoni_observe_rtt = _function("gotoni_observe_rtt", _status, _router, c_uint64, c_uint64, c_uint64)

GOTONI_METRIC_QUEUED_REQUESTS = 1
GOTONI_METRIC_RUNNING_REQUESTS = 2
GOTONI_METRIC_QUEUED_TOKENS = 4
GOTONI_METRIC_RUNNING_TOKENS = 8
GOTONI_METRIC_KV_CAPACITY_TOKENS = 16
GOTONI_METRIC_INCARNATION = 32
GOTONI_METRIC_RUNNING_LIMIT = 64


@_struct
class gotoni_metrics(Structure):
    struct_size: _u32
    known: _u32
    queued_requests: _u64
    running_requests: _u64
    queued_tokens: _u64
    running_tokens: _u64
    kv_capacity_tokens: _u64
    incarnation: _u64
    running_limit: _u64


gotoni_observe_metrics = _function(
    "gotoni_observe_metrics", _status, _router, c_uint64, POINTER(gotoni_metrics), c_uint64
)


@_struct
class gotoni_load(Structure):
    struct_size: _u32
    reserved: _u32
    queued_requests: _u64
    running_requests: _u64
    queued_tokens: _u64
    running_tokens: _u64
    owed_tokens: _u64


gotoni_observe_others = _function("gotoni_observe_others", _status, _router, c_uint64, POINTER(gotoni_load), c_uint64)
gotoni_observe_cached_tokens = _function(
    "gotoni_observe_cached_tokens", _status, _router, c_uint64, c_uint64, c_uint64
)
gotoni_observe_output_tokens = _function(
    "gotoni_observe_output_tokens", _status, _router, c_uint64, c_uint64, c_uint64
)


@_struct
class gotoni_kv_stored(Structure):
    struct_size: _u32
    block_size: _u32
    namespace_key: _u64
    has_parent: _u32
    reserved: _u32
    parent_hash: _u64
    block_count: _size
    hashes: _address
    tokens: _address


gotoni_kv_stored_event = _function(
    "gotoni_kv_stored_event", _status, _router, c_uint64, POINTER(gotoni_kv_stored), c_uint64
)
gotoni_kv_removed_event = _function(
    "gotoni_kv_removed_event", _status, _router, c_uint64, c_void_p, c_size_t, c_uint64
)
gotoni_kv_cleared_event = _function("gotoni_kv_cleared_event", _status, _router, c_uint64, c_uint64)

# ===== Prefix trie

gotoni_match = _function(
    "gotoni_match",
    _status,
    _router,
    POINTER(gotoni_request),
    POINTER(c_uint64),
    POINTER(c_uint64),
    c_size_t,
    POINTER(c_size_t),
)
gotoni_prefix_insert = _function(
    "gotoni_prefix_insert", _status, _router, c_uint64, POINTER(gotoni_request), c_uint64
)
gotoni_prefix_remove = _function(
    "gotoni_prefix_remove", _status, _router, c_uint64, POINTER(gotoni_request), c_uint64, c_uint64
)
gotoni_prefix_clear_server = _function("gotoni_prefix_clear_server", _status, _router, c_uint64, c_uint64)
gotoni_prefix_clear = _function("gotoni_prefix_clear", _status, _router, c_uint64)


@_struct
class gotoni_prefix_stats(Structure):
    struct_size: _u32
    reserved: _u32
    nodes: _u64
    leaves: _u64
    max_depth: _u64
    avg_depth: _double
    avg_branching: _double
    avg_prefix_length: _double
    total_server_refs: _u64
    unique_servers: _u64
    held_tokens: _u64
    bytes: _u64
    budget_bytes: _u64


gotoni_prefix_stats_get = _function("gotoni_prefix_stats_get", _status, _router, POINTER(gotoni_prefix_stats))

# ===== Policy and tuning

GOTONI_POLICY_GORGO = 1
GOTONI_POLICY_PREFIX_TREE = 2
GOTONI_POLICY_LEAST_LOAD = 3
GOTONI_POLICY_LEAST_REQUEST = 4
GOTONI_POLICY_SESSION_AFFINITY = 5
GOTONI_POLICY_POWER_OF_TWO = 6
GOTONI_POLICY_ROUND_ROBIN = 7
GOTONI_POLICY_RANDOM = 8
GOTONI_POLICY_PREDICTIVE = 9

gotoni_policy_set = _function("gotoni_policy_set", _status, _router, c_uint32)
gotoni_policy_get = _function("gotoni_policy_get", _status, _router, POINTER(c_uint32))
gotoni_policy_name = _function("gotoni_policy_name", c_char_p, c_uint32)
gotoni_policy_from_name = _function("gotoni_policy_from_name", _status, c_char_p, POINTER(c_uint32))

GOTONI_KNOB_MS_PER_TOKEN = 1
GOTONI_KNOB_RTT_WEIGHT = 2
GOTONI_KNOB_QUEUED_WEIGHT = 3
GOTONI_KNOB_RUNNING_COST_FACTOR = 4
GOTONI_KNOB_RTT_PRIOR_MS = 5
GOTONI_KNOB_RTT_WINDOW_MS = 6
GOTONI_KNOB_RTT_EXCESS_ALPHA = 7
GOTONI_KNOB_METRICS_TTL_MS = 8
GOTONI_KNOB_TOKENS_PER_REQUEST_PRIOR = 9
GOTONI_KNOB_TICKET_SILENCE_MS = 10
GOTONI_KNOB_EVICTION_WEIGHT = 11
GOTONI_KNOB_DECODE_MS = 12
GOTONI_KNOB_DECODE_MS_PER_REQUEST = 13
GOTONI_KNOB_DECODE_WEIGHT = 14
GOTONI_KNOB_OTHERS_WEIGHT = 15
GOTONI_KNOB_LEARNING = 16


@_struct
class gotoni_knob_info(Structure):
    struct_size: _u32
    knob: _u32
    name: _text
    unit: _text
    meaning: _text
    default_value: _double
    minimum: _double
    maximum: _double


gotoni_knob_set = _function("gotoni_knob_set", _status, _router, c_uint32, c_double)
gotoni_knob_get = _function("gotoni_knob_get", _status, _router, c_uint32, POINTER(c_double))
gotoni_knob_info_get = _function("gotoni_knob_info_get", _status, c_uint32, POINTER(gotoni_knob_info))
gotoni_knob_from_name = _function("gotoni_knob_from_name", _status, c_char_p, POINTER(c_uint32))

# ===== Tuner

GOTONI_TUNER_OFF = 0
GOTONI_TUNER_WARMING = 1
GOTONI_TUNER_COMPARING = 2
GOTONI_TUNER_CONFIRMING = 3
GOTONI_TUNER_CHECKING = 4
GOTONI_TUNER_RESTING = 5
GOTONI_TUNER_FROZEN = 6
GOTONI_TUNER_FOLLOWING = 7


@_struct
class gotoni_tuner_status(Structure):
    struct_size: _u32
    phase: _u32
    first_token_limit_ms: _double
    inter_token_limit_ms: _double
    requests: _u64
    ended: _u64
    proposed: _u64
    accepted: _u64
    rejected: _u64
    undecided: _u64
    rolled_back: _u64
    went_home: _u64
    goodput: _double
    spent: _double
    rounds: _u64
    difference: _double


@_struct
class gotoni_tuned_weight(Structure):
    struct_size: _u32
    knob: _u32
    home: _double
    incumbent: _double
    trial: _double


gotoni_tune_start = _function("gotoni_tune_start", _status, _router, c_double, c_double)
gotoni_tune_follow = _function(
    "gotoni_tune_follow", _status, _router, c_double, c_double, POINTER(gotoni_tuned_weight), c_size_t
)
gotoni_tune_freeze = _function("gotoni_tune_freeze", _status, _router)
gotoni_tune_rollback = _function("gotoni_tune_rollback", _status, _router)
gotoni_tune_status = _function("gotoni_tune_status", _status, _router, POINTER(gotoni_tuner_status))
gotoni_tune_weights = _function(
    "gotoni_tune_weights", _status, _router, POINTER(gotoni_tuned_weight), c_size_t, POINTER(c_size_t)
)

# ===== Statistics


@_struct
class gotoni_stats(Structure):
    struct_size: _u32
    servers: _u32
    open_tickets: _u64
    routed: _u64
    refused: _u64
    committed: _u64
    finished_ok: _u64
    finished_failed: _u64
    finished_cancelled: _u64
    finished_not_sent: _u64
    expired: _u64
    orphaned: _u64
    prompt_tokens: _u64
    matched_tokens: _u64
    evicted_tokens_capacity: _u64
    evicted_tokens_budget: _u64
    truncated_inserts: _u64
    bytes: _u64
    budget_bytes: _u64
    random_draws: _u64


gotoni_stats_get = _function("gotoni_stats_get", _status, _router, POINTER(gotoni_stats))

# ===== Snapshot

gotoni_snapshot_save = _function(
    "gotoni_snapshot_save", _status, _router, c_void_p, c_size_t, POINTER(c_size_t)
)
gotoni_snapshot_load = _function("gotoni_snapshot_load", _status, _router, c_void_p, c_size_t, c_uint64)
