"""Every method of Router does what it says."""
import time

import numpy
import pytest
from conftest import Clock

import gotoni

PROMPT = list(range(64))


def cached(router: gotoni.Router, tokens: "list[int]", namespace: int = 0) -> "dict[int, int]":
    return dict(router.match(tokens, namespace=namespace))


# ===== Servers


def test_servers_come_and_go(router: gotoni.Router) -> None:
    router.add_server(2**64 - 1, max_requests=5, kv_capacity_tokens=4096)
    assert router.servers() == [1, 2, 3, 2**64 - 1]
    info = router.server(2**64 - 1)
    assert (info.id, info.state, info.max_requests, info.kv_capacity_tokens) == (2**64 - 1, "up", 5, 4096)
    assert info.rtt_ns is None and info.rtt_ms is None
    router.update_server(2**64 - 1, max_requests=6, kv_capacity_tokens=8192)
    info = router.server(2**64 - 1)
    assert (info.max_requests, info.kv_capacity_tokens) == (6, 8192)
    router.remove_server(2**64 - 1)
    assert router.servers() == [1, 2, 3]


def test_more_servers_than_the_first_guess_are_listed(empty: gotoni.Router) -> None:
    for id in range(200):
        empty.add_server(id)
        empty.insert(id, PROMPT)
    assert empty.servers() == list(range(200))
    assert [match.server for match in empty.match(PROMPT)] == list(range(200))
    assert len(empty.explain(PROMPT)[0]) == 200


def test_a_draining_server_keeps_its_prefixes_and_one_that_is_down_does_not(router: gotoni.Router) -> None:
    router.insert(1, PROMPT)
    router.mark_server(1, "draining")
    assert router.server(1).state == "draining"
    assert cached(router, PROMPT) == {1: 64}
    router.mark_server(1, "down")
    assert cached(router, PROMPT) == {}
    router.mark_server(2, "down")
    with router.route(PROMPT) as ticket:
        assert ticket.server == 3
    router.mark_server(1, "up")
    assert router.server(1).state == "up"


# ===== Requests


def test_route_fills_the_decision(router: gotoni.Router) -> None:
    router.insert(1, PROMPT)
    ticket = router.route([*PROMPT, *range(1000, 1100)])
    assert ticket.server == 1
    assert ticket.id != 0
    assert (ticket.prompt_tokens, ticket.matched_tokens, ticket.eligible) == (164, 64, 3)
    assert (ticket.policy, ticket.reason) == ("gorgo", "policy")
    assert ticket.rtt_cost_ms == 10 and ticket.rtt_cost_ns == 10_000_000
    assert ticket.prefill_cost_ms == pytest.approx(100 * 0.094)
    assert ticket.queued_cost_ns == ticket.running_cost_ns == 0
    assert ticket.queued_cost_ms == ticket.running_cost_ms == 0.0
    parts = (ticket.rtt_cost_ns, ticket.prefill_cost_ns, ticket.queued_cost_ns, ticket.running_cost_ns)
    assert ticket.cost_ns == sum(parts)
    assert ticket.cost_ms == ticket.cost_ns / 1e6
    assert repr(ticket) == "<Ticket server=1 matched=64/164 cost=19.400ms>"
    ticket.finish()


def test_route_reserves_so_a_burst_spreads(router: gotoni.Router) -> None:
    tickets = [router.route(range(n, n + 10_000)) for n in (0, 20_000, 40_000)]
    assert sorted(ticket.server for ticket in tickets) == [1, 2, 3]
    assert tickets[2].cost_ns == tickets[2].rtt_cost_ns + tickets[2].prefill_cost_ns
    for ticket in tickets:
        ticket.finish()


def test_exclude_takes_any_iterable_of_ids(router: gotoni.Router) -> None:
    for exclude, expected in (([1], 2), ({1, 2}, 3), (numpy.array([1, 2]), 3), ((id for id in (1, 2)), 3), ((9,), 1), ([], 1)):
        with router.route(PROMPT, exclude=exclude) as ticket:
            assert ticket.server == expected
        router.clear()


def test_sessions_stay_and_may_be_named_in_any_way(empty: gotoni.Router) -> None:
    for id in range(50):
        empty.add_server(id)
    empty.policy = "session-affinity"

    def server(session: gotoni.Key) -> int:
        with empty.route(PROMPT, session=session) as ticket:
            assert ticket.reason == "policy"
            return ticket.server

    assert server("alice") == server(b"alice") == server(gotoni.key("alice"))
    assert len({server(f"user {n}") for n in range(50)}) > 20
    with empty.route(PROMPT) as ticket:
        assert ticket.reason == "no_session"


def test_a_prompt_matches_only_within_its_namespace(router: gotoni.Router) -> None:
    mine = gotoni.namespace("model", salt="me")
    router.insert(3, PROMPT, namespace=mine)
    assert cached(router, PROMPT) == {}
    assert cached(router, PROMPT, mine) == {3: 64}
    ticket = router.route(PROMPT, namespace=mine, exclude=[1, 2])
    assert ticket.matched_tokens == 64
    ticket.finish()


def test_route_batch_equals_so_many_routes() -> None:
    prompts = [list(range(n, n + 500)) for n in range(0, 3000, 300)]
    sessions = [f"user {n % 3}" for n in range(len(prompts))]

    def made() -> gotoni.Router:
        router = gotoni.Router(seed=5, clock=lambda: 1, policy="session-affinity")
        for id in range(20):
            router.add_server(id)
        return router

    with made() as one, made() as other:
        batch = one.route_batch(prompts, sessions=sessions, exclude=(id for id in [3, 4]))
        single = [
            other.route(prompt, session=session, exclude=[3, 4]) for prompt, session in zip(prompts, sessions)
        ]
        for ticket, expected in zip(batch, single):
            assert isinstance(ticket, gotoni.Ticket)
            assert bytes(ticket._row)[4:] == bytes(expected._row)[4:]  # behind struct_size
            ticket.finish()
            expected.finish()
        assert one.route_batch([]) == []


def test_route_batch_puts_refusals_in_their_place(empty: gotoni.Router) -> None:
    empty.add_server(1, max_requests=2)
    outcomes = empty.route_batch(iter([PROMPT, PROMPT, PROMPT]))
    assert [type(outcome) for outcome in outcomes] == [gotoni.Ticket, gotoni.Ticket, gotoni.SaturatedError]
    for outcome in outcomes:
        if isinstance(outcome, gotoni.Ticket):
            outcome.finish()


def test_explain_shows_the_table_and_changes_nothing(router: gotoni.Router) -> None:
    router.insert(2, PROMPT)
    router.mark_server(3, "draining")
    before = router.stats()
    table, decision = router.explain(PROMPT)
    assert router.stats() == before
    rows = {row.server: row for row in table}
    assert {id: row.verdict for id, row in rows.items()} == {1: "eligible", 2: "eligible", 3: "not_up"}
    assert (rows[2].matched_tokens, rows[2].uncached_tokens) == (64, 0)
    assert rows[1].rtt_ms == 10
    assert rows[1].metrics_known is False
    assert decision is not None and not isinstance(decision, gotoni.Ticket)
    assert [row.server for row in table if row.chosen] == [decision.server]
    with router.route(PROMPT) as ticket:
        assert ticket.server == decision.server
        assert ticket.cost_ns == decision.cost_ns == rows[decision.server].cost_ns
    for row in table:
        parts_ms = row.rtt_cost_ms + row.prefill_cost_ms + row.queued_cost_ms + row.running_cost_ms
        assert row.cost_ms == pytest.approx(parts_ms)


def test_explain_without_a_server_still_says_why(router: gotoni.Router) -> None:
    router.update_server(2, max_requests=1)
    ticket = router.route(PROMPT, exclude=[1, 3])
    table, decision = router.explain(PROMPT, exclude=[1, 3])
    assert decision is None
    assert {row.server: row.verdict for row in table} == {1: "excluded", 2: "at_limit", 3: "excluded"}
    ticket.finish()


def test_explain_of_an_unobserved_server_knows_no_rtt(empty: gotoni.Router) -> None:
    empty.add_server(7)
    (row,), _ = empty.explain(PROMPT)
    assert row.rtt_ns is None and row.rtt_ms is None
    assert row.rtt_cost_ms == empty.knobs["rtt_prior_ms"]


# ===== Observations


def test_rtt_is_given_and_read_in_milliseconds(router: gotoni.Router) -> None:
    router.observe_rtt(1, 0.25)
    assert router.server(1).rtt_ns is not None
    router.add_server(4)
    router.observe_rtt(4, 0)
    assert router.server(4).rtt_ms == 0.0
    router.add_server(5)
    router.observe_rtt(5, 12.5)
    assert router.server(5).rtt_ns == 12_500_000


def test_metrics_beyond_our_own_are_foreign_until_they_are_old(router: gotoni.Router, clock: Clock) -> None:
    assert router.server(1).metrics_known is False
    router.observe_metrics(1, queued_requests=3, running_requests=2, queued_tokens=3000, running_tokens=2000)
    info = router.server(1)
    assert info.metrics_known is True
    assert (info.foreign_queued_requests, info.foreign_running_requests) == (3, 2)
    assert (info.foreign_queued_tokens, info.foreign_running_tokens) == (3000, 2000)
    clock.advance_ms(router.knobs["metrics_ttl_ms"] + 1)
    assert router.server(1).metrics_known is False


def test_an_unknown_metric_is_not_zero(router: gotoni.Router) -> None:
    router.observe_metrics(1, queued_requests=2)
    assert router.server(1).foreign_queued_tokens == 2 * router.knobs["tokens_per_request_prior"]
    router.observe_metrics(1, queued_requests=2, queued_tokens=0)
    assert router.server(1).foreign_queued_tokens == 0


def test_what_others_say_is_foreign_load(router: gotoni.Router) -> None:
    other = gotoni.Router()
    other.add_server(1)
    ticket = other.route(range(160))
    told = other.server(1)
    router.observe_others(
        1, queued_requests=told.queued_requests, queued_tokens=told.queued_tokens, owed_tokens=told.owed_tokens
    )
    info = router.server(1)
    assert info.metrics_known and (info.foreign_queued_requests, info.foreign_queued_tokens) == (1, 160)
    (row,) = (row for row in router.explain([1])[0] if row.server == 1)
    assert row.owed_tokens == 160
    ticket.finish("ok")
    router.observe_others(1)
    assert router.server(1).metrics_known and router.server(1).foreign_queued_requests == 0, "nothing is not unknown"


def test_metrics_tell_capacity_and_restarts(router: gotoni.Router) -> None:
    router.observe_metrics(1, kv_capacity_tokens=4096, incarnation=1)
    assert router.server(1).kv_capacity_tokens == 4096
    router.insert(1, PROMPT)
    router.observe_metrics(1, incarnation=1)
    assert cached(router, PROMPT) == {1: 64}
    router.observe_metrics(1, incarnation=2)
    assert cached(router, PROMPT) == {}


def test_kv_events_are_taken_in_whatever_the_hashes_look_like(router: gotoni.Router) -> None:
    router.kv_stored(1, [-5, b"h" * 32], PROMPT[:32], 16)
    router.kv_stored(1, ["third", 4], PROMPT[32:], 16, parent=b"h" * 32)
    assert cached(router, PROMPT) == {1: 64}
    assert router.server(1).kv_blocks_stored == 4
    router.kv_removed(1, ["third", 12345])
    assert cached(router, PROMPT) == {1: 32}
    router.kv_removed(1, [2**64 - 5])
    assert cached(router, PROMPT) == {}
    router.kv_stored(2, [1], PROMPT[:16], 16, namespace=8)
    assert cached(router, PROMPT, 8) == {2: 16}
    router.kv_cleared(2)
    assert cached(router, PROMPT, 8) == {}
    router.kv_removed(2, [])


# ===== Prefix trie


def test_prefixes_are_inserted_matched_trimmed_and_cleared(router: gotoni.Router) -> None:
    router.insert(1, PROMPT)
    router.insert(2, PROMPT[:32])
    assert router.match(PROMPT) == [(1, 64), (2, 32)]
    assert router.match(PROMPT)[0].tokens == 64
    router.remove_prefix(1, PROMPT, keep_tokens=16)
    assert router.match(PROMPT) == [(2, 32), (1, 16)]
    router.clear_server(2)
    assert router.match(PROMPT) == [(1, 16)]
    router.remove_prefix(1, PROMPT)
    assert router.match(PROMPT) == []
    router.insert(1, PROMPT)
    router.insert(3, PROMPT)
    router.clear()
    assert router.match(PROMPT) == []


def test_prefix_stats_describe_the_trie(router: gotoni.Router) -> None:
    router.insert(1, PROMPT)
    router.insert(2, PROMPT[:32] + [9] * 32)
    stats = router.prefix_stats()
    assert (stats.nodes, stats.leaves, stats.max_depth, stats.unique_servers) == (4, 2, 64, 2)
    assert stats.held_tokens == 96
    assert stats.total_server_refs == 4
    assert stats.avg_depth == 64.0
    assert 0 < stats.bytes <= stats.budget_bytes


# ===== Policy and tuning


def test_policies_are_listed_and_switched(router: gotoni.Router) -> None:
    assert gotoni.policies() == [
        "gorgo",
        "prefix-tree",
        "least-load",
        "least-request",
        "session-affinity",
        "power-of-two",
        "round-robin",
        "random",
        "predictive",
    ]
    for name in gotoni.policies():
        router.policy = name
        assert router.policy == name
        with router.route([1]) as ticket:
            assert ticket.policy == name
    router.policy = "least-loaded"
    assert router.policy == "least-load"
    with gotoni.Router(policy="random") as other:
        assert other.policy == "random"


def test_knobs_are_described_and_turned(router: gotoni.Router) -> None:
    described = gotoni.knobs()
    assert described["ms_per_token"].default_value == 0.094
    assert described["ms_per_token"].unit == "ms/token"
    assert all(info.minimum <= info.default_value <= info.maximum for info in described.values())
    assert all(info.meaning for info in described.values())
    assert dict(router.knobs) == {name: info.default_value for name, info in described.items()}
    assert len(router.knobs) == len(described) == 16
    router.knobs["ms_per_token"] = 0.5
    assert router.knobs["ms_per_token"] == 0.5
    assert "ms_per_token" in router.knobs and "best" not in router.knobs
    assert repr(router.knobs).startswith("Knobs({'ms_per_token': 0.5")


# ===== Statistics, snapshot, life


def test_stats_count(router: gotoni.Router) -> None:
    for outcome in ("ok", "failed", "cancelled", "not_sent"):
        ticket = router.route(PROMPT)
        ticket.commit()
        ticket.finish(outcome)
    router.route_batch([PROMPT], exclude=[1, 2, 3])
    open_ticket = router.route(PROMPT)
    stats = router.stats()
    assert (stats.servers, stats.open_tickets, stats.routed, stats.refused) == (3, 1, 5, 1)
    assert stats.committed == 4
    outcomes = (stats.finished_ok, stats.finished_failed, stats.finished_cancelled, stats.finished_not_sent)
    assert outcomes == (1, 1, 1, 1)
    assert stats.prompt_tokens == 5 * 64
    assert 0 < stats.bytes <= stats.budget_bytes
    open_ticket.finish()


def test_a_snapshot_carries_what_was_learned(router: gotoni.Router) -> None:
    router.insert(2, PROMPT)
    router.policy = "least-load"
    router.knobs["rtt_weight"] = 2
    data = router.snapshot()
    assert isinstance(data, bytes)
    for lent in (data, bytearray(data), memoryview(b"x" + data)[1:]):
        with gotoni.Router() as other:
            other.add_server(77)
            ticket_of_other = other.route(PROMPT)
            other.load_snapshot(lent)
            ticket_of_other.finish()
            assert other.servers() == [1, 2, 3]
            assert other.match(PROMPT) == [(2, 64)]
            assert (other.policy, other.knobs["rtt_weight"], other.server(3).rtt_ms) == ("least-load", 2, 200)
            assert other.snapshot() == data
            other.check()


def test_a_snapshot_carries_learned_speeds(router: gotoni.Router) -> None:
    prompt = range(500_000, 501_000)
    untaught, _ = router.explain(prompt, now_ns=0)
    for round in range(20):
        now = round * 1_000_000_000
        ticket = router.route(range(round * 100, round * 100 + 64), exclude=[3], now_ns=now)
        ticket.first_token(now_ns=now + 70_000_000)
        ticket.finish(now_ns=now + 90_000_000)
    now = 20_000_000_000
    with gotoni.Router() as other:
        other.load_snapshot(router.snapshot(), now_ns=now)
        before, _ = router.explain(prompt, now_ns=now)
        assert other.explain(prompt, now_ns=now)[0] == before
        assert all(row.predicted_decode_ns < old.predicted_decode_ns for row, old in zip(before, untaught))
        assert other.server(1, now_ns=now) == router.server(1, now_ns=now)


def test_a_damaged_snapshot_changes_nothing(router: gotoni.Router) -> None:
    router.insert(2, PROMPT)
    data = router.snapshot()
    for place in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[place] ^= 0x55
        with pytest.raises(gotoni.SnapshotError):
            router.load_snapshot(damaged)
    for length in range(0, len(data), 11):
        with pytest.raises(gotoni.SnapshotError):
            router.load_snapshot(data[:length])
    assert router.snapshot() == data


def test_the_clock_is_monotonic_time_unless_given() -> None:
    with gotoni.Router() as router:
        assert abs(router._now(None) - time.monotonic_ns()) < 1e9
        assert router._now(5) == 5


def test_the_same_seed_and_calls_give_the_same_decisions() -> None:
    def servers(seed: int) -> "list[int]":
        with gotoni.Router(seed=seed, policy="random", clock=lambda: 0) as router:
            for id in range(10):
                router.add_server(id)
            tickets = [router.route([1]) for _ in range(100)]
            return [ticket.server for ticket in tickets]

    assert servers(1) == servers(1) != servers(2)


def test_the_version_is_that_of_the_library() -> None:
    assert gotoni.__version__ == "0.1.0"


# ===== Tuner


def test_the_tuner_is_started_frozen_and_rolled_back(router: gotoni.Router, clock: Clock) -> None:
    tuner = router.tuner
    assert tuner.status().phase == "off" and tuner.weights() == []
    tuner.start(first_token_limit_ms=1000, inter_token_limit_ms=50)
    status = tuner.status()
    assert (status.phase, status.first_token_limit_ms, status.inter_token_limit_ms) == ("warming", 1000, 50)
    assert [weight.knob for weight in tuner.weights()] == [
        "rtt_weight", "queued_weight", "running_cost_factor", "eviction_weight",
    ]
    assert all(weight.home == weight.incumbent == weight.trial == router.knobs[weight.knob] for weight in tuner.weights())
    trials = 0
    for session in range(1000):
        ticket = router.route(range(64), session=session)
        trials += ticket.trial
        clock.advance_ms(100)
        ticket.first_token()
        ticket.finish("ok")
    status = tuner.status()
    assert (status.requests, status.ended) == (1000, 1000)
    assert status.phase != "warming" and status.goodput > 0.9 and 100 < trials < 500
    tuner.freeze()
    assert tuner.status().phase == "frozen"
    tuner.rollback()
    assert all(weight.home == weight.incumbent for weight in tuner.weights())


def test_what_another_tuner_has_found_is_followed(router: gotoni.Router) -> None:
    found = [gotoni.TunedWeight("rtt_weight", home=1, incumbent=2.5, trial=2.5)]
    router.tuner.follow(found, first_token_limit_ms=700, inter_token_limit_ms=70)
    status = router.tuner.status()
    assert (status.phase, status.first_token_limit_ms, status.inter_token_limit_ms) == ("following", 700, 70)
    weights = {weight.knob: weight for weight in router.tuner.weights()}
    assert weights.pop("rtt_weight").incumbent == 2.5 and router.knobs["rtt_weight"] == 1
    assert all(weight.incumbent == weight.home for weight in weights.values())
    follower = gotoni.Router()
    follower.tuner.follow(router.tuner.weights())
    assert follower.tuner.weights() == router.tuner.weights()
    with pytest.raises(gotoni.UnknownNameError):
        router.tuner.follow([gotoni.TunedWeight("best", 1, 1, 1)])
    with pytest.raises(gotoni.UntunableError):
        router.tuner.follow([gotoni.TunedWeight("ms_per_token", 1, 1, 1)])
    with pytest.raises(gotoni.RangeError):
        router.tuner.follow([gotoni.TunedWeight("rtt_weight", 1, 0, 1)])
    assert router.tuner.status().phase == "following", "what is refused changes nothing"
    router.tuner.start()
    assert router.tuner.weights()[0].incumbent == 2.5


def test_what_has_no_weights_cannot_be_tuned(router: gotoni.Router) -> None:
    router.policy = "random"
    with pytest.raises(gotoni.UntunableError, match="gorgo or predictive"):
        router.tuner.start()
    router.policy = "gorgo"
    with pytest.raises(gotoni.RangeError):
        router.tuner.start(first_token_limit_ms=0)
