/* Tests of the header's section "Observations": round trip times, metrics, cached tokens, KV events. */
#include "check.h"
#include <stddef.h>

/* ----- round trip time ----- */

static int64_t rtt_ms(gotoni_router *router, uint64_t now_ns) {
    return info_of(router, 1, now_ns).rtt_ns / (int64_t)MILLISECOND;
}

static void an_unknown_round_trip_is_not_zero(void) {
    gotoni_router *router = router_with(1);
    EQUAL(info_of(router, 1, 0).rtt_ns, -1);
    OK(gotoni_observe_rtt(router, 1, 0, 0));
    EQUAL(info_of(router, 1, 0).rtt_ns, 0);
    end(router);
}

static void the_round_trip_is_the_smallest_sample_plus_the_mean_excess(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_observe_rtt(router, 1, 10 * MILLISECOND, 0));
    EQUAL(rtt_ms(router, 0), 10);
    OK(gotoni_observe_rtt(router, 1, 20 * MILLISECOND, 0)); /* 10 + 0.3 x 10 */
    EQUAL(rtt_ms(router, 0), 13);
    end(router);
}

static void the_weight_of_the_newest_excess_is_a_knob(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_observe_rtt(router, 1, 10 * MILLISECOND, 0));
    OK(gotoni_knob_set(router, GOTONI_KNOB_RTT_EXCESS_ALPHA, 0));
    OK(gotoni_observe_rtt(router, 1, 50 * MILLISECOND, 0));
    EQUAL(rtt_ms(router, 0), 10);
    OK(gotoni_knob_set(router, GOTONI_KNOB_RTT_EXCESS_ALPHA, 1));
    OK(gotoni_observe_rtt(router, 1, 50 * MILLISECOND, 0));
    EQUAL(rtt_ms(router, 0), 50);
    end(router);
}

static void the_smallest_sample_counts_no_longer_than_its_window(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_knob_set(router, GOTONI_KNOB_RTT_WINDOW_MS, 10000));
    OK(gotoni_knob_set(router, GOTONI_KNOB_RTT_EXCESS_ALPHA, 0));
    OK(gotoni_observe_rtt(router, 1, 10 * MILLISECOND, 0));
    for (uint64_t second = 1; second <= 30; second += 1)
        OK(gotoni_observe_rtt(router, 1, 80 * MILLISECOND, second * SECOND));
    EQUAL(rtt_ms(router, 30 * SECOND), 80); /* the route moved, for good */
    end(router);
}

static void a_round_trip_sample_above_one_hour_is_refused(void) {
    gotoni_router *router = router_with(1);
    STATUS(gotoni_observe_rtt(router, 1, 3600 * SECOND + 1, 0), GOTONI_E_RANGE);
    STATUS(gotoni_observe_rtt(router, 1, UINT64_MAX, 0), GOTONI_E_RANGE);
    EQUAL(info_of(router, 1, 0).rtt_ns, -1);
    OK(gotoni_observe_rtt(router, 1, 3600 * SECOND, 0));
    STATUS(gotoni_observe_rtt(router, 2, 1, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_observe_rtt(NULL, 1, 1, 0), GOTONI_E_ARGUMENT);
    end(router);
}

/* ----- metrics ----- */

static void what_metrics_report_beyond_our_own_is_foreign(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    OK(gotoni_first_token(router, route(router, tokens, 64, 0).ticket, 0));
    uint32_t waiting[64];
    fill(waiting, 64, 1000); /* uncached, as the engine's figure is */
    route(router, waiting, 64, 0);
    gotoni_metrics metrics = {
        .struct_size = sizeof metrics,
        .known = GOTONI_METRIC_QUEUED_REQUESTS | GOTONI_METRIC_RUNNING_REQUESTS | GOTONI_METRIC_QUEUED_TOKENS
               | GOTONI_METRIC_RUNNING_TOKENS,
        .queued_requests = 3, .running_requests = 5, .queued_tokens = 264, .running_tokens = 1064,
    };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    gotoni_server_info info = info_of(router, 1, 0);
    EQUAL(info.metrics_known, 1);
    EQUAL(info.queued_requests, 1);
    EQUAL(info.running_requests, 1);
    EQUAL(info.foreign_queued_requests, 2);
    EQUAL(info.foreign_running_requests, 4);
    EQUAL(info.foreign_queued_tokens, 200);
    EQUAL(info.foreign_running_tokens, 1000);

    gotoni_request request = request_of(tokens, 64);
    gotoni_candidate row = { .struct_size = sizeof row };
    size_t count;
    OK(gotoni_explain(router, &request, 0, &row, 1, &count, NULL)); /* shows the load of both together */
    EQUAL(row.queued_requests, 3);
    EQUAL(row.running_requests, 5);
    EQUAL(row.queued_tokens, 264);
    EQUAL(row.running_tokens, 1064);
    EQUAL(row.metrics_known, 1);
    end(router);
}

static void metrics_below_our_own_count_mean_no_foreign_load(void) {
    gotoni_router *router = router_with(1);
    uint32_t token = 1;
    for (int i = 0; i < 3; i += 1) route(router, &token, 1, 0);
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_QUEUED_REQUESTS,
                               .queued_requests = 1 };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(info_of(router, 1, 0).foreign_queued_requests, 0);
    EQUAL(info_of(router, 1, 0).foreign_queued_tokens, 0);
    end(router);
}

static void foreign_requests_of_unknown_size_count_with_the_prior(void) {
    gotoni_router *router = router_with(1);
    gotoni_metrics metrics = { .struct_size = sizeof metrics,
                               .known = GOTONI_METRIC_QUEUED_REQUESTS | GOTONI_METRIC_RUNNING_REQUESTS,
                               .queued_requests = 3, .running_requests = 2,
                               .queued_tokens = 999, .running_tokens = 999 /* not known, so not read */ };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(info_of(router, 1, 0).foreign_queued_tokens, 1500);
    EQUAL(info_of(router, 1, 0).foreign_running_tokens, 1000);
    end(router);
}

static void metrics_count_only_for_their_time(void) {
    gotoni_router *router = router_with(1);
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_QUEUED_REQUESTS,
                               .queued_requests = 3 };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(info_of(router, 1, 4999 * MILLISECOND).metrics_known, 1);
    gotoni_server_info info = info_of(router, 1, 5001 * MILLISECOND);
    EQUAL(info.metrics_known, 0);
    end(router);
}

static void a_server_that_never_reported_gets_the_mean_of_the_others(void) {
    gotoni_router *router = router_with(3);
    gotoni_metrics metrics = { .struct_size = sizeof metrics,
                               .known = GOTONI_METRIC_QUEUED_REQUESTS | GOTONI_METRIC_QUEUED_TOKENS };
    metrics.queued_requests = 2;
    metrics.queued_tokens = 1000;
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    metrics.queued_requests = 4;
    metrics.queued_tokens = 3000;
    OK(gotoni_observe_metrics(router, 2, &metrics, 0));
    gotoni_request request = request_of(NULL, 0);
    gotoni_candidate rows[3] = { { .struct_size = sizeof *rows } };
    size_t count;
    OK(gotoni_explain(router, &request, 0, rows, 3, &count, NULL));
    for (size_t i = 0; i < 3; i += 1) {
        EQUAL(rows[i].metrics_known, rows[i].server != 3);
        if (rows[i].server != 3) continue;
        EQUAL(rows[i].queued_tokens, 2000);
        EQUAL(rows[i].queued_requests, 3);
        EQUAL(rows[i].owed_tokens, 2000);
        EQUAL(rows[i].queued_cost_ns, 2000 * 94000 / 2);
    }
    end(router);
}

/* ----- what other routers say ----- */

static void what_others_say_is_foreign_until_it_is_old_or_they_say_nothing(void) {
    gotoni_router *router = router_with(2);
    gotoni_load load = { .struct_size = sizeof load, .queued_requests = 2, .running_requests = 3, .queued_tokens = 900,
                         .running_tokens = 1200, .owed_tokens = 500 };
    OK(gotoni_observe_others(router, 1, &load, 0));
    gotoni_server_info info = info_of(router, 1, 0);
    EQUAL(info.metrics_known, 1);
    EQUAL(info.foreign_queued_requests, 2);
    EQUAL(info.foreign_running_requests, 3);
    EQUAL(info.foreign_queued_tokens, 900);
    EQUAL(info.foreign_running_tokens, 1200);
    EQUAL(info_of(router, 2, 0).metrics_known, 0);
    gotoni_request request = request_of(NULL, 0);
    gotoni_candidate rows[2] = { { .struct_size = sizeof *rows } };
    size_t count = 0;
    OK(gotoni_explain(router, &request, 0, rows, 2, &count, NULL));
    for (size_t i = 0; i < count; i += 1)
        if (rows[i].server == 1) EQUAL(rows[i].owed_tokens, 500);
    load = (gotoni_load) { .struct_size = sizeof load };
    OK(gotoni_observe_others(router, 1, &load, SECOND)); /* known, and nothing: not unknown */
    EQUAL(info_of(router, 1, SECOND).metrics_known, 1);
    EQUAL(info_of(router, 1, SECOND).foreign_queued_requests, 0);
    EQUAL(info_of(router, 1, SECOND + 5001 * MILLISECOND).metrics_known, 0);
    end(router);
}

static void what_others_say_and_what_metrics_report_are_not_added(void) {
    gotoni_router *router = router_with(1);
    gotoni_load load = { .struct_size = sizeof load, .running_requests = 3, .running_tokens = 1200 };
    gotoni_metrics metrics = { .struct_size = sizeof metrics,
                               .known = GOTONI_METRIC_RUNNING_REQUESTS | GOTONI_METRIC_RUNNING_TOKENS,
                               .running_requests = 5, .running_tokens = 1000 };
    OK(gotoni_observe_others(router, 1, &load, 0));
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(info_of(router, 1, 0).foreign_running_requests, 5);
    EQUAL(info_of(router, 1, 0).foreign_running_tokens, 1200);
    end(router);
}

static void wrong_loads_of_others_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_load load = { .struct_size = sizeof load, .queued_tokens = 10, .owed_tokens = 10 };
    STATUS(gotoni_observe_others(NULL, 1, &load, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_observe_others(router, 1, NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_observe_others(router, 2, &load, 0), GOTONI_E_UNKNOWN_SERVER);
    load.owed_tokens = 11;
    STATUS(gotoni_observe_others(router, 1, &load, 0), GOTONI_E_RANGE);
    load.queued_tokens = (1ULL << 40) + 1;
    STATUS(gotoni_observe_others(router, 1, &load, 0), GOTONI_E_RANGE);
    load.queued_tokens = 1ULL << 40;
    load.reserved = 1;
    STATUS(gotoni_observe_others(router, 1, &load, 0), GOTONI_E_ARGUMENT);
    load.reserved = 0;
    load.struct_size = 7;
    STATUS(gotoni_observe_others(router, 1, &load, 0), GOTONI_E_ARGUMENT);
    EQUAL(info_of(router, 1, 0).metrics_known, 0);
    load.struct_size = sizeof load;
    OK(gotoni_observe_others(router, 1, &load, 0));
    end(router);
}

static void an_older_and_a_newer_callers_load_are_accepted(void) {
    gotoni_router *router = router_with(1);
    struct { gotoni_load known; unsigned char newer[24]; } load;
    memset(&load, CANARY, sizeof load);
    load.known = (gotoni_load) { .struct_size = offsetof(gotoni_load, queued_tokens), .queued_requests = 4, .queued_tokens = 99 };
    OK(gotoni_observe_others(router, 1, &load.known, 0));
    EQUAL(info_of(router, 1, 0).foreign_queued_requests, 4);
    EQUAL(info_of(router, 1, 0).foreign_queued_tokens, 0);
    load.known.struct_size = sizeof load;
    OK(gotoni_observe_others(router, 1, &load.known, 0));
    EQUAL(info_of(router, 1, 0).foreign_queued_tokens, 99);
    end(router);
}

static void an_engine_can_report_its_cache_size(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_KV_CAPACITY_TOKENS };
    STATUS(gotoni_observe_metrics(router, 1, &metrics, 0), GOTONI_E_RANGE);
    metrics.kv_capacity_tokens = 32;
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(info_of(router, 1, 0).kv_capacity_tokens, 32);
    CHECK(info_of(router, 1, 0).held_tokens <= 32);
    end(router);
}

static void a_restart_of_the_engine_empties_its_prefixes(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_INCARNATION, .incarnation = 7 };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0)); /* the first report is no change */
    EQUAL(matched(router, tokens, 64, 1), 64);
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(matched(router, tokens, 64, 1), 64);
    metrics.incarnation = 8;
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(matched(router, tokens, 64, 1), 0);
    end(router);
}

static void zero_is_an_incarnation_like_any_other(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_INCARNATION, .incarnation = 0 };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    insert(router, 1, tokens, 64);
    metrics.incarnation = 1;
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(matched(router, tokens, 64, 1), 0);
    insert(router, 1, tokens, 64);
    metrics.incarnation = 0;
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    EQUAL(matched(router, tokens, 64, 1), 0);
    end(router);
}

static void hostile_metrics_are_refused_or_priced_but_never_overflow(void) {
    gotoni_router *router = router_with(2);
    uint32_t token = 1;
    for (int bits = 20; bits <= 64; bits += 1) {
        const uint64_t huge = UINT64_MAX >> (64 - bits);
        gotoni_metrics metrics = { .struct_size = sizeof metrics,
                                   .known = GOTONI_METRIC_QUEUED_REQUESTS | GOTONI_METRIC_RUNNING_REQUESTS,
                                   .queued_requests = huge, .running_requests = huge };
        for (int tokens_too = 0; tokens_too < 2; tokens_too += 1) {
            for (uint64_t id = 1; id <= 2; id += 1) {
                gotoni_status status = gotoni_observe_metrics(router, id, &metrics, 0);
                CHECK(status == GOTONI_OK || status == GOTONI_E_RANGE);
            }
            for (uint32_t policy = 1; gotoni_policy_name(policy) != NULL; policy += 1) {
                OK(gotoni_policy_set(router, policy));
                gotoni_decision decision = route(router, &token, 1, 0);
                CHECK(decision.queued_cost_ns > 0 && decision.running_cost_ns > 0);
                CHECK(decision.cost_ns >= decision.queued_cost_ns && decision.cost_ns >= decision.running_cost_ns);
            }
            metrics.known |= GOTONI_METRIC_QUEUED_TOKENS | GOTONI_METRIC_RUNNING_TOKENS;
            metrics.queued_tokens = metrics.running_tokens = huge;
        }
    }
    end(router);
}

static void wrong_arguments_about_metrics_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_QUEUED_REQUESTS };
    STATUS(gotoni_observe_metrics(NULL, 1, &metrics, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_observe_metrics(router, 1, NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_observe_metrics(router, 2, &metrics, 0), GOTONI_E_UNKNOWN_SERVER);
    metrics.known = 128;
    STATUS(gotoni_observe_metrics(router, 1, &metrics, 0), GOTONI_E_ARGUMENT);
    metrics.known = 0;
    metrics.struct_size = 0;
    STATUS(gotoni_observe_metrics(router, 1, &metrics, 0), GOTONI_E_ARGUMENT);
    EQUAL(info_of(router, 1, 0).metrics_known, 0);
    end(router);
}

static void an_older_and_a_newer_callers_metrics_are_accepted(void) {
    gotoni_router *router = router_with(1);
    struct { gotoni_metrics known; unsigned char newer[24]; } metrics;
    memset(&metrics, CANARY, sizeof metrics);
    metrics.known.known = GOTONI_METRIC_QUEUED_REQUESTS;
    metrics.known.queued_requests = 4;
    metrics.known.struct_size = offsetof(gotoni_metrics, running_requests);
    OK(gotoni_observe_metrics(router, 1, &metrics.known, 0));
    EQUAL(info_of(router, 1, 0).foreign_queued_requests, 4);
    metrics.known.queued_requests = 6;
    metrics.known.struct_size = sizeof metrics;
    OK(gotoni_observe_metrics(router, 1, &metrics.known, 0));
    EQUAL(info_of(router, 1, 0).foreign_queued_requests, 6);
    CHECK(untouched(metrics.newer, sizeof metrics.newer));
    end(router);
}

/* ----- cached tokens ----- */

static void a_reported_hit_below_the_belief_trims_the_claim_behind_it(void) {
    gotoni_router *router = router_with(2);
    uint32_t earlier[64], now[64];
    fill(earlier, 64, 0);
    fill(now, 64, 0);
    fill(now + 48, 16, 1000); /* the first 48 tokens are shared */
    insert(router, 1, earlier, 64);
    insert(router, 2, earlier, 64);
    uint64_t exclude[] = { 2 };
    gotoni_request request = request_of(now, 64);
    request.exclude = exclude;
    request.exclude_count = 1;
    gotoni_decision decision = { .struct_size = sizeof decision };
    OK(gotoni_route(router, &request, 0, &decision));
    EQUAL(decision.matched_tokens, 48);
    OK(gotoni_first_token(router, decision.ticket, 0));
    OK(gotoni_observe_cached_tokens(router, decision.ticket, 16, 0));
    OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, 0));
    EQUAL(matched(router, now, 64, 1), 64);     /* this prompt is there now ... */
    EQUAL(matched(router, earlier, 64, 1), 48); /* ... and what followed the reported point is not ... */
    EQUAL(matched(router, earlier, 64, 2), 64); /* ... on this server */
    gotoni_server_info info = info_of(router, 1, 0);
    EQUAL(info.predicted_cached_tokens, 48);
    EQUAL(info.reported_cached_tokens, 16);
    EQUAL(info.parity_reports, 1);
    end(router);
}

static void a_reported_hit_above_the_belief_trims_nothing(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    uint64_t ticket = route(router, tokens, 32, 0).ticket;
    OK(gotoni_observe_cached_tokens(router, ticket, 32, 0));
    EQUAL(matched(router, tokens, 64, 1), 64);
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 0));
    end(router);
}

static void wrong_cached_tokens_are_refused(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    uint64_t ticket = route(router, tokens, 64, 0).ticket;
    STATUS(gotoni_observe_cached_tokens(NULL, ticket, 1, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_observe_cached_tokens(router, ticket, 65, 0), GOTONI_E_RANGE);
    STATUS(gotoni_observe_cached_tokens(router, ticket, UINT64_MAX, 0), GOTONI_E_RANGE);
    STATUS(gotoni_observe_cached_tokens(router, ticket + 1, 1, 0), GOTONI_E_TICKET);
    OK(gotoni_observe_cached_tokens(router, ticket, 64, 0));
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 0));
    STATUS(gotoni_observe_cached_tokens(router, ticket, 64, 0), GOTONI_E_TICKET_ENDED);
    end(router);
}

/* ----- KV events ----- */

enum { ENGINE_BLOCK = 32 }; /* two blocks of the router */
static uint32_t kv_tokens[4 * ENGINE_BLOCK];
static const uint64_t kv_hashes[4] = { 101, 102, 103, 104 };

/* Blocks first ... first + count - 1 of the prompt kv_tokens, named by kv_hashes. */
static gotoni_kv_stored stored(size_t first, size_t count) {
    gotoni_kv_stored event = { .struct_size = sizeof event, .block_size = ENGINE_BLOCK, .block_count = count };
    event.hashes = kv_hashes + first;
    event.tokens = kv_tokens + first * ENGINE_BLOCK;
    if (first > 0) {
        event.has_parent = 1;
        event.parent_hash = kv_hashes[first - 1];
    }
    return event;
}

static uint64_t kv_matched(gotoni_router *router) { return matched(router, kv_tokens, 4 * ENGINE_BLOCK, 1); }

static void stored_blocks_are_matched_by_their_tokens(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored beginning = stored(0, 2), continuation = stored(2, 2);
    OK(gotoni_kv_stored_event(router, 1, &beginning, 0));
    EQUAL(kv_matched(router), 64);
    OK(gotoni_kv_stored_event(router, 1, &continuation, 0));
    EQUAL(kv_matched(router), 128);
    EQUAL(info_of(router, 1, 0).kv_blocks_stored, 4);
    end(router);
}

static void a_stored_event_applied_twice_is_harmless(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored beginning = stored(0, 2), continuation = stored(2, 2);
    for (int i = 0; i < 2; i += 1) {
        OK(gotoni_kv_stored_event(router, 1, &beginning, 0));
        OK(gotoni_kv_stored_event(router, 1, &continuation, 0));
    }
    EQUAL(kv_matched(router), 128);
    EQUAL(info_of(router, 1, 0).held_tokens, 128);
    OK(gotoni_kv_removed_event(router, 1, kv_hashes, 1, 0));
    EQUAL(info_of(router, 1, 0).held_tokens, 0);
    end(router);
}

static void removed_blocks_take_what_follows_them(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored event = stored(0, 4);
    OK(gotoni_kv_stored_event(router, 1, &event, 0));
    const uint64_t unknown[] = { 999 };
    OK(gotoni_kv_removed_event(router, 1, unknown, 1, 0));
    OK(gotoni_kv_removed_event(router, 1, NULL, 0, 0));
    EQUAL(kv_matched(router), 128);
    OK(gotoni_kv_removed_event(router, 1, kv_hashes + 2, 1, 0));
    EQUAL(kv_matched(router), 64);
    CHECK(info_of(router, 1, 0).kv_blocks_removed >= 1);
    event = stored(3, 1); /* its parent is gone */
    STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_UNKNOWN_PARENT);
    end(router);
}

static void a_removed_parent_and_child_in_one_event_are_fine_in_any_order(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored event = stored(0, 4);
    const uint64_t backwards[] = { 104, 103, 102, 101 };
    OK(gotoni_kv_stored_event(router, 1, &event, 0));
    OK(gotoni_kv_removed_event(router, 1, kv_hashes, 4, 0));
    EQUAL(kv_matched(router), 0);
    OK(gotoni_kv_stored_event(router, 1, &event, 0));
    OK(gotoni_kv_removed_event(router, 1, backwards, 4, 0));
    EQUAL(kv_matched(router), 0);
    end(router);
}

static void a_cleared_cache_holds_nothing(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored event = stored(0, 4);
    OK(gotoni_kv_stored_event(router, 1, &event, 0));
    OK(gotoni_kv_cleared_event(router, 1, 0));
    EQUAL(kv_matched(router), 0);
    EQUAL(info_of(router, 1, 0).held_tokens, 0);
    event = stored(2, 2);
    STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_UNKNOWN_PARENT);
    end(router);
}

static void a_block_whose_parent_was_never_seen_is_an_orphan(void) {
    gotoni_router *router = router_with(2);
    gotoni_kv_stored beginning = stored(0, 2), continuation = stored(2, 2);
    STATUS(gotoni_kv_stored_event(router, 1, &continuation, 0), GOTONI_E_UNKNOWN_PARENT);
    CHECK(info_of(router, 1, 0).kv_blocks_orphaned > 0);
    OK(gotoni_kv_stored_event(router, 2, &beginning, 0)); /* the names are per server */
    STATUS(gotoni_kv_stored_event(router, 1, &continuation, 0), GOTONI_E_UNKNOWN_PARENT);
    EQUAL(kv_matched(router), 0);
    end(router);
}

static void a_continuation_stays_in_the_namespace_of_its_parent(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored beginning = stored(0, 2), continuation = stored(2, 2);
    beginning.namespace_key = 5;
    continuation.namespace_key = 6; /* not read */
    OK(gotoni_kv_stored_event(router, 1, &beginning, 0));
    OK(gotoni_kv_stored_event(router, 1, &continuation, 0));
    EQUAL(matched_in(router, 5, kv_tokens, 128, 1), 128);
    EQUAL(matched_in(router, 6, kv_tokens, 128, 1), 0);
    EQUAL(kv_matched(router), 0);
    end(router);
}

static void an_engine_block_must_be_a_multiple_of_ours(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored event = stored(0, 1);
    const uint32_t sizes[] = { 1, 15, 17, 24, UINT32_MAX };
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i += 1) {
        event.block_size = sizes[i];
        STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_BLOCK_SIZE);
    }
    event.block_size = 0;
    CHECK(gotoni_kv_stored_event(router, 1, &event, 0) != GOTONI_OK);
    event.block_size = 16;
    OK(gotoni_kv_stored_event(router, 1, &event, 0));
    EQUAL(kv_matched(router), 16);
    end(router);
}

static void more_blocks_than_a_prompt_can_have_are_refused_unread(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored event = stored(0, 1);
    const size_t counts[] = { (16777216 / ENGINE_BLOCK) + 1, SIZE_MAX / ENGINE_BLOCK + 2, SIZE_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i += 1) {
        event.block_count = counts[i];
        STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_RANGE);
    }
    event.block_count = 0;
    event.hashes = NULL;
    event.tokens = NULL;
    OK(gotoni_kv_stored_event(router, 1, &event, 0));
    end(router);
}

static void wrong_arguments_about_kv_events_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_kv_stored event = stored(0, 1);
    STATUS(gotoni_kv_stored_event(NULL, 1, &event, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_kv_stored_event(router, 1, NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_kv_stored_event(router, 2, &event, 0), GOTONI_E_UNKNOWN_SERVER);
    event.hashes = NULL;
    STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_ARGUMENT);
    event = stored(0, 1);
    event.tokens = NULL;
    STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_ARGUMENT);
    event = stored(0, 1);
    event.struct_size = 3;
    STATUS(gotoni_kv_stored_event(router, 1, &event, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_kv_removed_event(NULL, 1, kv_hashes, 1, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_kv_removed_event(router, 1, NULL, 1, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_kv_removed_event(router, 2, kv_hashes, 1, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_kv_cleared_event(NULL, 1, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_kv_cleared_event(router, 2, 0), GOTONI_E_UNKNOWN_SERVER);
    EQUAL(kv_matched(router), 0);
    end(router);
}

static void a_newer_callers_event_is_accepted(void) {
    struct { gotoni_kv_stored known; unsigned char newer[24]; } event;
    memset(&event, CANARY, sizeof event);
    event.known = stored(0, 2);
    event.known.struct_size = sizeof event;
    gotoni_router *router = router_with(1);
    OK(gotoni_kv_stored_event(router, 1, &event.known, 0));
    EQUAL(kv_matched(router), 64);
    CHECK(untouched(event.newer, sizeof event.newer));
    end(router);
}

int main(void) {
    fill(kv_tokens, 4 * ENGINE_BLOCK, 0);
    TEST(an_unknown_round_trip_is_not_zero);
    TEST(the_round_trip_is_the_smallest_sample_plus_the_mean_excess);
    TEST(the_weight_of_the_newest_excess_is_a_knob);
    TEST(the_smallest_sample_counts_no_longer_than_its_window);
    TEST(a_round_trip_sample_above_one_hour_is_refused);
    TEST(what_metrics_report_beyond_our_own_is_foreign);
    TEST(metrics_below_our_own_count_mean_no_foreign_load);
    TEST(foreign_requests_of_unknown_size_count_with_the_prior);
    TEST(metrics_count_only_for_their_time);
    TEST(a_server_that_never_reported_gets_the_mean_of_the_others);
    TEST(what_others_say_is_foreign_until_it_is_old_or_they_say_nothing);
    TEST(what_others_say_and_what_metrics_report_are_not_added);
    TEST(wrong_loads_of_others_are_refused);
    TEST(an_older_and_a_newer_callers_load_are_accepted);
    TEST(an_engine_can_report_its_cache_size);
    TEST(a_restart_of_the_engine_empties_its_prefixes);
    TEST(zero_is_an_incarnation_like_any_other);
    TEST(hostile_metrics_are_refused_or_priced_but_never_overflow);
    TEST(wrong_arguments_about_metrics_are_refused);
    TEST(an_older_and_a_newer_callers_metrics_are_accepted);
    TEST(a_reported_hit_below_the_belief_trims_the_claim_behind_it);
    TEST(a_reported_hit_above_the_belief_trims_nothing);
    TEST(wrong_cached_tokens_are_refused);
    TEST(stored_blocks_are_matched_by_their_tokens);
    TEST(a_stored_event_applied_twice_is_harmless);
    TEST(removed_blocks_take_what_follows_them);
    TEST(a_removed_parent_and_child_in_one_event_are_fine_in_any_order);
    TEST(a_cleared_cache_holds_nothing);
    TEST(a_block_whose_parent_was_never_seen_is_an_orphan);
    TEST(a_continuation_stays_in_the_namespace_of_its_parent);
    TEST(an_engine_block_must_be_a_multiple_of_ours);
    TEST(more_blocks_than_a_prompt_can_have_are_refused_unread);
    TEST(wrong_arguments_about_kv_events_are_refused);
    TEST(a_newer_callers_event_is_accepted);
    return check_result();
}
