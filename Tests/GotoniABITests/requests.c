/* Tests of the header's section "Requests". */
#define _DEFAULT_SOURCE /* MAP_ANONYMOUS */
#include "check.h"
#include <stddef.h>
#include <sys/mman.h>

static uint32_t prompt_a[64], prompt_b[64];

static void make_prompts(void) {
    fill(prompt_a, 64, 0);
    fill(prompt_b, 64, 1000);
}

/* A page that must not be read: a call that touches it crashes the test. */
static const void *forbidden_page(void) {
    return mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* ----- route ----- */

static void a_decision_explains_itself(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_observe_rtt(router, 1, 7 * MILLISECOND, 0));
    insert(router, 1, prompt_a, 32);
    gotoni_decision decision = route(router, prompt_a, 64, 0);
    CHECK(decision.ticket != 0);
    EQUAL(decision.server, 1);
    EQUAL(decision.reason, GOTONI_REASON_POLICY);
    EQUAL(decision.prompt_tokens, 64);
    EQUAL(decision.matched_tokens, 32);
    EQUAL(decision.rtt_cost_ns, 7 * MILLISECOND);
    EQUAL(decision.prefill_cost_ns, 32 * 94000);
    EQUAL(decision.cost_ns, decision.rtt_cost_ns + decision.prefill_cost_ns + decision.queued_cost_ns
                                + decision.running_cost_ns);
    EQUAL(decision.policy, GOTONI_POLICY_GORGO);
    EQUAL(decision.eligible, 1);
    end(router);
}

static void an_empty_prompt_can_be_routed(void) {
    gotoni_router *router = router_with(1);
    gotoni_decision decision = route(router, NULL, 0, 0);
    EQUAL(decision.prompt_tokens, 0);
    EQUAL(decision.prefill_cost_ns, 0);
    OK(gotoni_commit(router, decision.ticket, 0));
    OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, 0));
    end(router);
}

static void routing_reserves_so_that_a_burst_spreads(void) {
    gotoni_router *router = router_with(4);
    unsigned per_server[5] = { 0 };
    for (int i = 0; i < 8; i += 1) {
        uint32_t tokens[64];
        fill(tokens, 64, (uint32_t)i * 1000);
        per_server[route(router, tokens, 64, 0).server] += 1;
    }
    for (int id = 1; id <= 4; id += 1) EQUAL(per_server[id], 2);
    end(router);
}

static void wrong_arguments_to_route_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_decision decision = { .struct_size = sizeof decision };
    STATUS(gotoni_route(NULL, &request, 0, &decision), GOTONI_E_ARGUMENT);
    STATUS(gotoni_route(router, NULL, 0, &decision), GOTONI_E_ARGUMENT);
    STATUS(gotoni_route(router, &request, 0, NULL), GOTONI_E_ARGUMENT);
    request.tokens = NULL;
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_ARGUMENT);
    request = request_of(prompt_a, 64);
    request.exclude_count = 1;
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_ARGUMENT);
    request.exclude_count = 0;
    for (uint32_t size = 0; size < sizeof(uint32_t); size += 1) {
        request.struct_size = size;
        STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_ARGUMENT);
        request.struct_size = sizeof request;
        decision.struct_size = size;
        STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_ARGUMENT);
        decision.struct_size = sizeof decision;
    }
    EQUAL(stats_of(router).open_tickets, 0);
    end(router);
}

static void a_prompt_that_is_too_long_is_refused_unread(void) {
    gotoni_config config = { .struct_size = sizeof config, .max_prompt_tokens = 100 };
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server, .id = 1 };
    OK(gotoni_server_add(router, &server, 0));
    gotoni_decision decision = { .struct_size = sizeof decision };
    const size_t counts[] = { 101, (size_t)1 << 31, SIZE_MAX / 4, SIZE_MAX / 2 + 1, SIZE_MAX };
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i += 1) {
        gotoni_request request = request_of(forbidden_page(), counts[i]);
        STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_RANGE);
    }
    uint32_t tokens[100];
    fill(tokens, 100, 0);
    route(router, tokens, 100, 0);
    end(router);
}

static void without_servers_there_is_no_server(void) {
    gotoni_router *router = router_with(0);
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_decision decision;
    memset(&decision, CANARY, sizeof decision);
    decision.struct_size = sizeof decision;
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_NO_SERVER);
    CHECK(untouched((char *)&decision + sizeof(uint32_t), sizeof decision - sizeof(uint32_t)));
    end(router);
}

static void an_excluded_server_is_not_chosen(void) {
    gotoni_router *router = router_with(2);
    insert(router, 1, prompt_a, 64);
    const uint64_t exclude[] = { 77, 1, 2 };
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_decision decision = { .struct_size = sizeof decision };
    request.exclude = exclude;
    request.exclude_count = 2; /* 77, which nobody knows, and 1 */
    OK(gotoni_route(router, &request, 0, &decision));
    EQUAL(decision.server, 2);
    EQUAL(decision.eligible, 1);
    request.exclude_count = 3;
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_NO_SERVER);
    end(router);
}

static void an_older_callers_structs_end_where_they_end(void) {
    gotoni_router *router = router_with(1);
    gotoni_request request;
    memset(&request, 0xFF, sizeof request);
    request.struct_size = offsetof(gotoni_request, namespace_key);
    request.exclude_count = 0;
    request.tokens = prompt_a;
    request.token_count = 64;
    const size_t known = offsetof(gotoni_decision, matched_tokens);
    gotoni_decision decision;
    memset(&decision, CANARY, sizeof decision);
    decision.struct_size = (uint32_t)known;
    OK(gotoni_route(router, &request, 0, &decision));
    EQUAL(decision.struct_size, known);
    EQUAL(decision.server, 1);
    EQUAL(decision.prompt_tokens, 64);
    CHECK(untouched((char *)&decision + known, sizeof decision - known));
    OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, 0));
    EQUAL(matched(router, prompt_a, 64, 1), 64); /* so the namespace was the common one */
    end(router);
}

static void a_newer_callers_structs_are_accepted_and_their_ends_left_alone(void) {
    struct { gotoni_request known; unsigned char newer[24]; } request;
    struct { gotoni_decision known; unsigned char newer[24]; } decision;
    memset(&request, CANARY, sizeof request);
    memset(&decision, CANARY, sizeof decision);
    request.known = request_of(prompt_a, 64);
    request.known.struct_size = sizeof request;
    decision.known.struct_size = sizeof decision;
    gotoni_router *router = router_with(1);
    OK(gotoni_route(router, &request.known, 0, &decision.known));
    EQUAL(decision.known.eligible, 1);
    CHECK(untouched(request.newer, sizeof request.newer));
    CHECK(untouched(decision.newer, sizeof decision.newer));
    end(router);
}

/* ----- route_batch ----- */

static void a_batch_decides_as_single_calls_would(void) {
    enum { COUNT = 20 };
    gotoni_router *single = router_with(3), *batched = router_with(3);
    gotoni_request requests[COUNT];
    gotoni_decision decisions[COUNT];
    gotoni_status statuses[COUNT];
    for (size_t i = 0; i < COUNT; i += 1) {
        requests[i] = request_of(i % 3 == 0 ? prompt_a : prompt_b, 16 + i);
        decisions[i].struct_size = sizeof *decisions;
    }
    OK(gotoni_route_batch(batched, requests, COUNT, 5, decisions, statuses));
    for (size_t i = 0; i < COUNT; i += 1) {
        gotoni_decision decision = { .struct_size = sizeof decision };
        STATUS(gotoni_route(single, &requests[i], 5, &decision), statuses[i]);
        EQUAL(decisions[i].server, decision.server);
        EQUAL(decisions[i].cost_ns, decision.cost_ns);
    }
    end(single);
    end(batched);
}

static void a_refused_request_of_a_batch_leaves_its_decision_alone(void) {
    gotoni_router *router = router_with(1);
    const uint64_t exclude[] = { 1 };
    gotoni_request requests[3] = { request_of(prompt_a, 64), request_of(prompt_a, 64), request_of(NULL, 5) };
    requests[1].exclude = exclude;
    requests[1].exclude_count = 1;
    gotoni_decision decisions[3];
    memset(decisions, CANARY, sizeof decisions);
    decisions[0].struct_size = sizeof *decisions;
    gotoni_status statuses[3];
    OK(gotoni_route_batch(router, requests, 3, 0, decisions, statuses));
    EQUAL(statuses[0], GOTONI_OK);
    EQUAL(statuses[1], GOTONI_E_NO_SERVER);
    EQUAL(statuses[2], GOTONI_E_ARGUMENT);
    EQUAL(decisions[0].server, 1);
    CHECK(untouched(&decisions[1], 2 * sizeof *decisions));
    end(router);
}

static void the_first_element_of_a_batch_says_the_size_of_all(void) {
    struct { gotoni_request known; uint64_t newer; } requests[3];
    struct { gotoni_decision known; uint64_t newer; } decisions[3];
    memset(requests, 0, sizeof requests);
    memset(decisions, CANARY, sizeof decisions);
    for (size_t i = 0; i < 3; i += 1) requests[i].known = request_of(prompt_a, 16 * (i + 1));
    requests[0].known.struct_size = sizeof *requests;
    requests[1].known.struct_size = requests[2].known.struct_size = 0;
    decisions[0].known.struct_size = sizeof *decisions;
    gotoni_status statuses[3];
    gotoni_router *router = router_with(1);
    OK(gotoni_route_batch(router, &requests[0].known, 3, 0, &decisions[0].known, statuses));
    for (size_t i = 0; i < 3; i += 1) {
        EQUAL(statuses[i], GOTONI_OK);
        EQUAL(decisions[i].known.prompt_tokens, 16 * (i + 1));
        CHECK(untouched(&decisions[i].newer, sizeof decisions[i].newer));
    }
    end(router);
}

static void wrong_arguments_to_a_batch_route_nothing(void) {
    gotoni_router *router = router_with(1);
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_decision decision = { .struct_size = sizeof decision };
    gotoni_status status;
    STATUS(gotoni_route_batch(NULL, &request, 1, 0, &decision, &status), GOTONI_E_ARGUMENT);
    STATUS(gotoni_route_batch(router, NULL, 1, 0, &decision, &status), GOTONI_E_ARGUMENT);
    STATUS(gotoni_route_batch(router, &request, 1, 0, NULL, &status), GOTONI_E_ARGUMENT);
    STATUS(gotoni_route_batch(router, &request, 1, 0, &decision, NULL), GOTONI_E_ARGUMENT);
    request.struct_size = 0;
    STATUS(gotoni_route_batch(router, &request, 1, 0, &decision, &status), GOTONI_E_ARGUMENT);
    request.struct_size = sizeof request;
    decision.struct_size = 3;
    STATUS(gotoni_route_batch(router, &request, 1, 0, &decision, &status), GOTONI_E_ARGUMENT);
    EQUAL(stats_of(router).routed, 0);
    end(router);
}

/* ----- explain ----- */

static void explain_shows_every_server_with_its_verdict(void) {
    gotoni_router *router = router_with(3);
    gotoni_server limited = { .struct_size = sizeof limited, .id = 4, .max_requests = 1 };
    OK(gotoni_server_add(router, &limited, 0));
    const uint64_t all_but_the_fourth[] = { 1, 2, 3 }, third[] = { 3 };
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_decision decision = { .struct_size = sizeof decision };
    request.exclude = all_but_the_fourth;
    request.exclude_count = 3;
    OK(gotoni_route(router, &request, 0, &decision)); /* fills server 4 */
    EQUAL(decision.server, 4);
    OK(gotoni_server_mark(router, 2, GOTONI_SERVER_DRAINING, 0));
    insert(router, 1, prompt_a, 32);

    request.exclude = third;
    request.exclude_count = 1;
    gotoni_candidate rows[4] = { { .struct_size = sizeof *rows } };
    size_t count = 0;
    OK(gotoni_explain(router, &request, 0, rows, 4, &count, &decision));
    EQUAL(count, 4);
    const uint32_t verdicts[] = { 0, GOTONI_ELIGIBLE, GOTONI_NOT_UP, GOTONI_EXCLUDED, GOTONI_AT_LIMIT };
    unsigned seen = 0;
    for (size_t i = 0; i < 4; i += 1) {
        seen |= 1u << rows[i].server;
        EQUAL(rows[i].verdict, verdicts[rows[i].server]);
        EQUAL(rows[i].chosen, rows[i].server == 1);
        EQUAL(rows[i].matched_tokens, rows[i].server == 1 ? 32 : 0);
        EQUAL(rows[i].uncached_tokens, 64 - rows[i].matched_tokens);
        EQUAL(rows[i].queued_requests, rows[i].server == 4);
        EQUAL(rows[i].queued_tokens, rows[i].server == 4 ? 64 : 0);
        EQUAL(rows[i].owed_tokens, rows[i].queued_tokens);
        EQUAL(rows[i].running_requests + rows[i].running_tokens, 0);
        EQUAL(rows[i].rtt_ns, -1);
        EQUAL(rows[i].metrics_known, 0);
        EQUAL(rows[i].cost_ns, rows[i].rtt_cost_ns + rows[i].prefill_cost_ns + rows[i].queued_cost_ns
                                   + rows[i].running_cost_ns);
    }
    EQUAL(seen, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4);
    EQUAL(decision.server, 1);
    EQUAL(decision.ticket, 0);
    EQUAL(decision.eligible, 1);
    end(router);
}

static void explain_foretells_route_and_takes_nothing(void) {
    gotoni_router *router = router_with(5);
    gotoni_request request = request_of(prompt_a, 64);
    request.session_key = 5;
    for (uint32_t policy = 1; gotoni_policy_name(policy) != NULL; policy += 1) {
        OK(gotoni_policy_set(router, policy));
        for (int i = 0; i < 20; i += 1) {
            gotoni_candidate rows[5] = { { .struct_size = sizeof *rows } };
            gotoni_decision foretold = { .struct_size = sizeof foretold }, decision = foretold;
            size_t count;
            uint64_t open_tickets = stats_of(router).open_tickets;
            for (int twice = 0; twice < 2; twice += 1)
                OK(gotoni_explain(router, &request, 0, rows, 5, &count, &foretold));
            EQUAL(stats_of(router).open_tickets, open_tickets);
            OK(gotoni_route(router, &request, 0, &decision));
            EQUAL(foretold.server, decision.server);
            EQUAL(foretold.cost_ns, decision.cost_ns);
            EQUAL(foretold.policy, policy);
            for (size_t row = 0; row < 5; row += 1) EQUAL(rows[row].chosen, rows[row].server == decision.server);
        }
    }
    end(router);
}

static void explain_fills_the_table_also_when_no_server_may_take_the_request(void) {
    gotoni_router *router = router_with(2);
    OK(gotoni_server_mark(router, 1, GOTONI_SERVER_DOWN, 0));
    OK(gotoni_server_mark(router, 2, GOTONI_SERVER_DRAINING, 0));
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_candidate rows[2] = { { .struct_size = sizeof *rows } };
    size_t count = 0;
    STATUS(gotoni_explain(router, &request, 0, rows, 2, &count, NULL), GOTONI_E_NO_SERVER);
    EQUAL(count, 2);
    for (size_t i = 0; i < 2; i += 1) {
        EQUAL(rows[i].verdict, GOTONI_NOT_UP);
        EQUAL(rows[i].chosen, 0);
    }
    end(router);
}

static void explain_says_saturated_when_all_are_at_their_limit(void) {
    gotoni_router *router = router_with(0);
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .max_requests = 1 };
    OK(gotoni_server_add(router, &server, 0));
    route(router, prompt_a, 64, 0);
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_candidate row = { .struct_size = sizeof row };
    size_t count = 0;
    STATUS(gotoni_explain(router, &request, 0, &row, 1, &count, NULL), GOTONI_E_SATURATED);
    EQUAL(row.verdict, GOTONI_AT_LIMIT);
    end(router);
}

static void a_table_that_does_not_fit_writes_nothing_and_says_the_size(void) {
    gotoni_router *router = router_with(3);
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_candidate rows[2];
    memset(rows, CANARY, sizeof rows);
    rows[0].struct_size = sizeof *rows;
    size_t count = 0;
    STATUS(gotoni_explain(router, &request, 0, rows, 2, &count, NULL), GOTONI_E_BUFFER);
    EQUAL(count, 3);
    CHECK(untouched((char *)rows + sizeof(uint32_t), sizeof rows - sizeof(uint32_t)));
    count = 0;
    STATUS(gotoni_explain(router, &request, 0, NULL, 0, &count, NULL), GOTONI_E_BUFFER);
    EQUAL(count, 3);
    end(router);
}

static void an_older_callers_table_keeps_its_stride(void) {
    /* Rows as they were when gotoni_candidate ended behind `matched_tokens`. */
    struct old_row { uint32_t struct_size, verdict; uint64_t server, matched_tokens; } rows[4];
    memset(rows, CANARY, sizeof rows);
    rows[0].struct_size = sizeof *rows;
    gotoni_router *router = router_with(3);
    gotoni_request request = request_of(prompt_a, 64);
    size_t count = 0;
    OK(gotoni_explain(router, &request, 0, (gotoni_candidate *)(void *)rows, 3, &count, NULL));
    unsigned seen = 0;
    for (size_t i = 0; i < 3; i += 1) seen |= 1u << rows[i].server;
    EQUAL(seen, 1u << 1 | 1u << 2 | 1u << 3);
    CHECK(untouched(&rows[3], sizeof rows[3]));
    end(router);
}

static void wrong_arguments_to_explain_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_candidate row = { .struct_size = sizeof row };
    gotoni_decision decision = { .struct_size = sizeof decision };
    size_t count;
    STATUS(gotoni_explain(NULL, &request, 0, &row, 1, &count, &decision), GOTONI_E_ARGUMENT);
    STATUS(gotoni_explain(router, NULL, 0, &row, 1, &count, &decision), GOTONI_E_ARGUMENT);
    STATUS(gotoni_explain(router, &request, 0, NULL, 1, &count, &decision), GOTONI_E_ARGUMENT);
    STATUS(gotoni_explain(router, &request, 0, &row, 1, NULL, &decision), GOTONI_E_ARGUMENT);
    row.struct_size = 0;
    STATUS(gotoni_explain(router, &request, 0, &row, 1, &count, &decision), GOTONI_E_ARGUMENT);
    row.struct_size = sizeof row;
    decision.struct_size = 3;
    STATUS(gotoni_explain(router, &request, 0, &row, 1, &count, &decision), GOTONI_E_ARGUMENT);
    decision.struct_size = sizeof decision;
    request.tokens = NULL;
    STATUS(gotoni_explain(router, &request, 0, &row, 1, &count, &decision), GOTONI_E_ARGUMENT);
    request.tokens = forbidden_page();
    request.token_count = SIZE_MAX;
    STATUS(gotoni_explain(router, &request, 0, &row, 1, &count, &decision), GOTONI_E_RANGE);
    end(router);
}

/* ----- the life of a request ----- */

static void check_load(gotoni_router *router, uint64_t now_ns, uint64_t queued, uint64_t running) {
    gotoni_server_info info = info_of(router, 1, now_ns);
    EQUAL(info.queued_requests, queued);
    EQUAL(info.queued_tokens, queued * 64);
    EQUAL(info.running_requests, running);
    EQUAL(info.running_tokens, running * 64);
}

static void a_request_moves_from_queued_to_running_to_ended(void) {
    gotoni_router *router = router_with(1);
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    check_load(router, 0, 1, 0);
    EQUAL(matched(router, prompt_a, 64, 1), 0);
    OK(gotoni_commit(router, ticket, 1));
    check_load(router, 1, 1, 0);
    EQUAL(matched(router, prompt_a, 64, 1), 64); /* expected from the commit on */
    OK(gotoni_first_token(router, ticket, 2));
    check_load(router, 2, 0, 1);
    OK(gotoni_progress(router, ticket, 3));
    check_load(router, 3, 0, 1);
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 4));
    check_load(router, 4, 0, 0);
    EQUAL(matched(router, prompt_a, 64, 1), 64);
    end(router);
}

static void repeating_a_step_is_harmless(void) {
    gotoni_router *router = router_with(1);
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    for (int i = 0; i < 2; i += 1) OK(gotoni_commit(router, ticket, 1));
    for (int i = 0; i < 2; i += 1) OK(gotoni_first_token(router, ticket, 2));
    OK(gotoni_commit(router, ticket, 3)); /* only forward: it stays running */
    check_load(router, 3, 0, 1);
    EQUAL(stats_of(router).committed, 1);
    end(router);
}

static void skipping_the_commit_is_harmless(void) {
    gotoni_router *router = router_with(1);
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    OK(gotoni_first_token(router, ticket, 1));
    check_load(router, 1, 0, 1);
    EQUAL(matched(router, prompt_a, 64, 1), 64);
    EQUAL(stats_of(router).committed, 1);
    end(router);
}

static void skipping_to_the_end_is_harmless(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_finish(router, route(router, prompt_a, 64, 0).ticket, GOTONI_FINISH_OK, 1));
    check_load(router, 1, 0, 0);
    EQUAL(matched(router, prompt_a, 64, 1), 64);
    end(router);
}

static void finishing_twice_changes_nothing(void) {
    gotoni_router *router = router_with(1);
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_FAILED, 1));
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 2));
    gotoni_stats stats = stats_of(router);
    EQUAL(stats.finished_failed, 1);
    EQUAL(stats.finished_ok, 0);
    EQUAL(matched(router, prompt_a, 64, 1), 0);
    end(router);
}

static void an_ended_ticket_goes_no_further(void) {
    gotoni_router *router = router_with(1);
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 1));
    route(router, prompt_b, 64, 2); /* may use the same place inside */
    STATUS(gotoni_commit(router, ticket, 3), GOTONI_E_TICKET_ENDED);
    STATUS(gotoni_first_token(router, ticket, 3), GOTONI_E_TICKET_ENDED);
    STATUS(gotoni_progress(router, ticket, 3), GOTONI_E_TICKET_ENDED);
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 3));
    EQUAL(stats_of(router).open_tickets, 1);
    end(router);
}

static void a_ticket_that_was_never_issued_is_named_as_such(void) {
    gotoni_router *router = router_with(1);
    uint64_t real = route(router, prompt_a, 64, 0).ticket;
    const uint64_t never[] = { 0, real + 1, real ^ UINT64_C(1) << 40, ~real, UINT64_MAX };
    for (size_t i = 0; i < sizeof never / sizeof *never; i += 1) {
        STATUS(gotoni_commit(router, never[i], 0), GOTONI_E_TICKET);
        STATUS(gotoni_first_token(router, never[i], 0), GOTONI_E_TICKET);
        STATUS(gotoni_progress(router, never[i], 0), GOTONI_E_TICKET);
        STATUS(gotoni_finish(router, never[i], GOTONI_FINISH_OK, 0), GOTONI_E_TICKET);
    }
    end(router);
}

static void the_steps_need_a_router_and_finish_a_known_outcome(void) {
    gotoni_router *router = router_with(1);
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    STATUS(gotoni_commit(NULL, ticket, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_first_token(NULL, ticket, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_progress(NULL, ticket, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_finish(NULL, ticket, GOTONI_FINISH_OK, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_finish(router, ticket, 4, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_finish(router, ticket, UINT32_MAX, 0), GOTONI_E_ARGUMENT);
    check_load(router, 0, 1, 0);
    end(router);
}

static void a_failure_before_the_first_token_withdraws_what_the_commit_expected(void) {
    const uint32_t outcomes[] = { GOTONI_FINISH_FAILED, GOTONI_FINISH_CANCELLED, GOTONI_FINISH_NOT_SENT };
    for (size_t i = 0; i < 3; i += 1) {
        gotoni_router *router = router_with(1);
        insert(router, 1, prompt_a, 32); /* known before, so it stays */
        uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
        OK(gotoni_commit(router, ticket, 1));
        OK(gotoni_finish(router, ticket, outcomes[i], 2));
        EQUAL(matched(router, prompt_a, 64, 1), 32);
        end(router);
    }
}

static void a_failure_after_the_first_token_withdraws_nothing(void) {
    const uint32_t outcomes[] = { GOTONI_FINISH_FAILED, GOTONI_FINISH_CANCELLED };
    for (size_t i = 0; i < 2; i += 1) {
        gotoni_router *router = router_with(1);
        uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
        OK(gotoni_first_token(router, ticket, 1));
        OK(gotoni_finish(router, ticket, outcomes[i], 2));
        EQUAL(matched(router, prompt_a, 64, 1), 64);
        end(router);
    }
}

static void a_withdrawn_prompt_comes_back_when_its_running_twin_ends(void) {
    gotoni_router *router = router_with(1);
    uint64_t fails = route(router, prompt_a, 64, 0).ticket;
    OK(gotoni_commit(router, fails, 1));
    uint64_t runs = route(router, prompt_a, 64, 2).ticket;
    OK(gotoni_first_token(router, runs, 3));
    OK(gotoni_finish(router, fails, GOTONI_FINISH_CANCELLED, 4));
    EQUAL(matched(router, prompt_a, 64, 1), 0);
    OK(gotoni_finish(router, runs, GOTONI_FINISH_OK, 5));
    EQUAL(matched(router, prompt_a, 64, 1), 64);
    end(router);
}

static void a_finished_prompt_is_cached_whatever_happened_to_its_twin(void) {
    gotoni_router *router = router_with(1);
    uint64_t fails = route(router, prompt_a, 64, 0).ticket;
    OK(gotoni_commit(router, fails, 1));
    uint64_t succeeds = route(router, prompt_a, 64, 2).ticket;
    OK(gotoni_commit(router, succeeds, 3));
    OK(gotoni_finish(router, fails, GOTONI_FINISH_FAILED, 4));
    OK(gotoni_finish(router, succeeds, GOTONI_FINISH_OK, 5));
    EQUAL(matched(router, prompt_a, 64, 1), 64);
    end(router);
}

/* ----- silence ----- */

static void a_silent_ticket_is_ended_by_the_router(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_knob_set(router, GOTONI_KNOB_TICKET_SILENCE_MS, 1000));
    uint64_t reserved = route(router, prompt_a, 64, 0).ticket;
    uint64_t committed = route(router, prompt_a, 64, 0).ticket;
    uint64_t running = route(router, prompt_a, 64, 0).ticket;
    OK(gotoni_commit(router, committed, 0));
    OK(gotoni_first_token(router, running, 0));
    check_load(router, 999 * MILLISECOND, 2, 1);
    check_load(router, 1001 * MILLISECOND, 0, 0);
    EQUAL(stats_of(router).expired, 3);
    EQUAL(stats_of(router).open_tickets, 0);
    STATUS(gotoni_commit(router, reserved, 0), GOTONI_E_TICKET_ENDED);
    STATUS(gotoni_progress(router, running, 0), GOTONI_E_TICKET_ENDED);
    OK(gotoni_finish(router, committed, GOTONI_FINISH_OK, 0));
    EQUAL(stats_of(router).finished_ok, 0);
    end(router);
}

static void age_alone_never_ends_a_ticket(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_knob_set(router, GOTONI_KNOB_TICKET_SILENCE_MS, 1000));
    uint64_t ticket = route(router, prompt_a, 64, 0).ticket;
    uint64_t now = 0;
    OK(gotoni_commit(router, ticket, now += 900 * MILLISECOND));
    OK(gotoni_first_token(router, ticket, now += 900 * MILLISECOND));
    for (int i = 0; i < 100; i += 1) OK(gotoni_progress(router, ticket, now += 900 * MILLISECOND));
    check_load(router, now, 0, 1);
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, now += 900 * MILLISECOND));
    EQUAL(stats_of(router).finished_ok, 1);
    EQUAL(stats_of(router).expired, 0);
    end(router);
}

static void time_does_not_run_backwards(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_knob_set(router, GOTONI_KNOB_TICKET_SILENCE_MS, 1000));
    route(router, prompt_a, 64, 5 * SECOND);
    uint64_t late = route(router, prompt_a, 64, 1 * SECOND).ticket; /* counts from second 5 as well */
    check_load(router, 5500 * MILLISECOND, 2, 0);
    OK(gotoni_progress(router, late, 0));
    check_load(router, 6100 * MILLISECOND, 1, 0);
    check_load(router, 0, 1, 0);
    end(router);
}

static void the_end_of_time_is_a_time_like_any_other(void) {
    gotoni_router *router = router_with(1);
    route(router, prompt_a, 64, UINT64_MAX);
    check_load(router, UINT64_MAX, 1, 0);
    OK(gotoni_observe_rtt(router, 1, 5, UINT64_MAX));
    EQUAL(info_of(router, 1, UINT64_MAX).rtt_ns, 5);
    end(router);
}

/* Last, as it crashes where half a pointer is taken for one. */
static void a_struct_size_that_cuts_a_pointer_in_two_is_refused(void) {
    gotoni_router *router = router_with(1);
    const uint64_t exclude[] = { 77 };
    gotoni_request request = request_of(prompt_a, 64);
    gotoni_decision decision = { .struct_size = sizeof decision };
    request.exclude = exclude;
    request.exclude_count = 1;
    for (size_t size = offsetof(gotoni_request, exclude); size < sizeof request; size += 1) {
        request.struct_size = (uint32_t)size;
        STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_ARGUMENT);
    }
    end(router);
}

static void an_array_of_capacity_zero_is_not_looked_at(void) {
    gotoni_router *router = router_with(1);
    gotoni_request request = { .struct_size = sizeof request };
    size_t count = 0;
    gotoni_candidate *nowhere = (gotoni_candidate *)(uintptr_t)64; /* as an empty vector's data() may be */
    STATUS(gotoni_explain(router, &request, 0, nowhere, 0, &count, NULL), GOTONI_E_BUFFER);
    EQUAL(count, 1);
    end(router);
}

int main(void) {
    make_prompts();
    TEST(a_decision_explains_itself);
    TEST(an_empty_prompt_can_be_routed);
    TEST(routing_reserves_so_that_a_burst_spreads);
    TEST(wrong_arguments_to_route_are_refused);
    TEST(a_prompt_that_is_too_long_is_refused_unread);
    TEST(without_servers_there_is_no_server);
    TEST(an_excluded_server_is_not_chosen);
    TEST(an_older_callers_structs_end_where_they_end);
    TEST(a_newer_callers_structs_are_accepted_and_their_ends_left_alone);
    TEST(a_batch_decides_as_single_calls_would);
    TEST(a_refused_request_of_a_batch_leaves_its_decision_alone);
    TEST(the_first_element_of_a_batch_says_the_size_of_all);
    TEST(wrong_arguments_to_a_batch_route_nothing);
    TEST(explain_shows_every_server_with_its_verdict);
    TEST(explain_foretells_route_and_takes_nothing);
    TEST(explain_fills_the_table_also_when_no_server_may_take_the_request);
    TEST(explain_says_saturated_when_all_are_at_their_limit);
    TEST(a_table_that_does_not_fit_writes_nothing_and_says_the_size);
    TEST(an_older_callers_table_keeps_its_stride);
    TEST(wrong_arguments_to_explain_are_refused);
    TEST(a_request_moves_from_queued_to_running_to_ended);
    TEST(repeating_a_step_is_harmless);
    TEST(skipping_the_commit_is_harmless);
    TEST(skipping_to_the_end_is_harmless);
    TEST(finishing_twice_changes_nothing);
    TEST(an_ended_ticket_goes_no_further);
    TEST(a_ticket_that_was_never_issued_is_named_as_such);
    TEST(the_steps_need_a_router_and_finish_a_known_outcome);
    TEST(a_failure_before_the_first_token_withdraws_what_the_commit_expected);
    TEST(a_failure_after_the_first_token_withdraws_nothing);
    TEST(a_withdrawn_prompt_comes_back_when_its_running_twin_ends);
    TEST(a_finished_prompt_is_cached_whatever_happened_to_its_twin);
    TEST(a_silent_ticket_is_ended_by_the_router);
    TEST(age_alone_never_ends_a_ticket);
    TEST(time_does_not_run_backwards);
    TEST(the_end_of_time_is_a_time_like_any_other);
    TEST(a_struct_size_that_cuts_a_pointer_in_two_is_refused);
    TEST(an_array_of_capacity_zero_is_not_looked_at);
    return check_result();
}
