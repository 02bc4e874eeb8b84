/* Tests of the header's section "Policy and tuning". */
#include "check.h"
#include <math.h>
#include <stddef.h>

static uint32_t tokens[6500];
static uint32_t waiting[6500]; /* a prompt that begins with none of `tokens` */

/* Gives server `id` one request of `count` tokens: of `waiting`, queued, or of `tokens`, running, if `running`. */
static uint64_t give_load(gotoni_router *router, uint64_t id, size_t count, int running) {
    uint64_t others[8], ids[8];
    size_t found = 0;
    gotoni_request request = request_of(running ? tokens : waiting, count);
    gotoni_decision decision = { .struct_size = sizeof decision };
    OK(gotoni_server_list(router, ids, 8, &found));
    for (size_t i = 0; i < found; i += 1)
        if (ids[i] != id) others[request.exclude_count++] = ids[i];
    request.exclude = others;
    OK(gotoni_route(router, &request, 0, &decision));
    EQUAL(decision.server, id);
    if (running) OK(gotoni_first_token(router, decision.ticket, 0));
    return decision.ticket;
}

/* What routing a request with this session key would choose. */
static uint64_t chosen_for(gotoni_router *router, uint64_t session_key) {
    gotoni_request request = request_of(NULL, 0);
    request.session_key = session_key;
    gotoni_candidate rows[8] = { { .struct_size = sizeof *rows } };
    gotoni_decision decision = { .struct_size = sizeof decision };
    size_t count;
    OK(gotoni_explain(router, &request, 0, rows, 8, &count, &decision));
    return decision.server;
}

/* ----- names ----- */

static void every_policy_has_its_documented_name(void) {
    const struct { uint32_t policy; const char *name; } names[] = {
        { GOTONI_POLICY_GORGO, "gorgo" }, { GOTONI_POLICY_PREFIX_TREE, "prefix-tree" },
        { GOTONI_POLICY_LEAST_LOAD, "least-load" }, { GOTONI_POLICY_LEAST_REQUEST, "least-request" },
        { GOTONI_POLICY_SESSION_AFFINITY, "session-affinity" }, { GOTONI_POLICY_POWER_OF_TWO, "power-of-two" },
        { GOTONI_POLICY_ROUND_ROBIN, "round-robin" }, { GOTONI_POLICY_RANDOM, "random" },
        { GOTONI_POLICY_PREDICTIVE, "predictive" } };
    for (size_t i = 0; i < 9; i += 1) {
        uint32_t policy = 0;
        EQUAL(names[i].policy, i + 1);
        CHECK(strcmp(gotoni_policy_name(names[i].policy), names[i].name) == 0);
        OK(gotoni_policy_from_name(names[i].name, &policy));
        EQUAL(policy, names[i].policy);
    }
    uint32_t policy = 0;
    OK(gotoni_policy_from_name("least-loaded", &policy));
    EQUAL(policy, GOTONI_POLICY_LEAST_LOAD);
}

static void an_unknown_policy_is_named_as_such(void) {
    const char *const names[] = { "", "GORGO", "gorgo ", " gorgo", "gorg", "gorgoo", "round_robin", "default" };
    uint32_t policy = 77;
    for (size_t i = 0; i < sizeof names / sizeof *names; i += 1)
        STATUS(gotoni_policy_from_name(names[i], &policy), GOTONI_E_UNKNOWN_POLICY);
    EQUAL(policy, 77);
    CHECK(gotoni_policy_name(0) == NULL);
    CHECK(gotoni_policy_name(10) == NULL);
    CHECK(gotoni_policy_name(UINT32_MAX) == NULL);
    gotoni_router *router = router_with(1);
    STATUS(gotoni_policy_set(router, 0), GOTONI_E_UNKNOWN_POLICY);
    STATUS(gotoni_policy_set(router, 10), GOTONI_E_UNKNOWN_POLICY);
    STATUS(gotoni_policy_set(router, UINT32_MAX), GOTONI_E_UNKNOWN_POLICY);
    OK(gotoni_policy_get(router, &policy));
    EQUAL(policy, GOTONI_POLICY_GORGO);
    end(router);
}

static void wrong_arguments_are_refused(void) {
    gotoni_router *router = router_with(1);
    uint32_t number;
    double value;
    gotoni_knob_info info = { .struct_size = sizeof info };
    STATUS(gotoni_policy_set(NULL, 1), GOTONI_E_ARGUMENT);
    STATUS(gotoni_policy_get(NULL, &number), GOTONI_E_ARGUMENT);
    STATUS(gotoni_policy_get(router, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_policy_from_name(NULL, &number), GOTONI_E_ARGUMENT);
    STATUS(gotoni_policy_from_name("gorgo", NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_knob_set(NULL, 1, 1), GOTONI_E_ARGUMENT);
    STATUS(gotoni_knob_get(NULL, 1, &value), GOTONI_E_ARGUMENT);
    STATUS(gotoni_knob_get(router, 1, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_knob_info_get(1, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_knob_from_name(NULL, &number), GOTONI_E_ARGUMENT);
    STATUS(gotoni_knob_from_name("ms_per_token", NULL), GOTONI_E_ARGUMENT);
    info.struct_size = 3;
    STATUS(gotoni_knob_info_get(1, &info), GOTONI_E_ARGUMENT);
    end(router);
}

static void the_policy_can_be_switched_at_run_time(void) {
    gotoni_router *router = router_with(1);
    for (uint32_t policy = 1; policy <= 8; policy += 1) {
        uint32_t now_in_force = 0;
        OK(gotoni_policy_set(router, policy));
        OK(gotoni_policy_get(router, &now_in_force));
        EQUAL(now_in_force, policy);
        EQUAL(route(router, tokens, 16, 0).policy, policy);
    }
    end(router);
}

/* ----- gorgo ----- */

static void the_gorgo_cost_is_as_computed_by_hand(void) {
    gotoni_router *router = router_with(1);
    give_load(router, 1, 6500, 1);
    give_load(router, 1, 250, 0);  /* owed: 250 x 0.094 ms x 0.5 = 11.75 ms */
    route(router, tokens, 640, 0); /* waits too, but all of it is cached; in flight: 7,390 x 0.094 ms x 0.1 = 69.466 ms */
    OK(gotoni_observe_rtt(router, 1, 40 * MILLISECOND, 0));
    uint32_t prompt[1064];
    fill(prompt, 1064, 0);
    fill(prompt + 64, 1000, 100000); /* 64 matched, 1,000 x 0.094 ms = 94 ms */
    gotoni_decision decision = route(router, prompt, 1064, 0);
    EQUAL(decision.matched_tokens, 64);
    EQUAL(decision.running_cost_ns, 69466000);
    EQUAL(decision.queued_cost_ns, 11750000);
    EQUAL(decision.prefill_cost_ns, 94000000);
    EQUAL(decision.rtt_cost_ns, 40000000);
    EQUAL(decision.cost_ns, 69466000 + 11750000 + 94000000 + 40000000);
    end(router);
}

static void an_unknown_round_trip_costs_the_prior(void) {
    gotoni_router *router = router_with(1);
    EQUAL(route(router, NULL, 0, 0).rtt_cost_ns, 100 * MILLISECOND);
    OK(gotoni_knob_set(router, GOTONI_KNOB_RTT_PRIOR_MS, 7));
    EQUAL(route(router, NULL, 0, 0).rtt_cost_ns, 7 * MILLISECOND);
    end(router);
}

static void every_weight_of_the_gorgo_cost_can_be_turned(void) {
    gotoni_router *router = router_with(1);
    give_load(router, 1, 1000, 1);
    give_load(router, 1, 100, 0);
    OK(gotoni_observe_rtt(router, 1, 10 * MILLISECOND, 0));
    OK(gotoni_knob_set(router, GOTONI_KNOB_MS_PER_TOKEN, 2));
    OK(gotoni_knob_set(router, GOTONI_KNOB_RTT_WEIGHT, 3));
    OK(gotoni_knob_set(router, GOTONI_KNOB_QUEUED_WEIGHT, 4));
    OK(gotoni_knob_set(router, GOTONI_KNOB_RUNNING_COST_FACTOR, 0.25));
    uint32_t fresh[16];
    fill(fresh, 16, 100000);
    gotoni_decision decision = route(router, fresh, 16, 0);
    EQUAL(decision.rtt_cost_ns, 30 * MILLISECOND);
    EQUAL(decision.prefill_cost_ns, 32 * MILLISECOND);
    EQUAL(decision.queued_cost_ns, 800 * MILLISECOND);
    EQUAL(decision.running_cost_ns, 550 * MILLISECOND);
    end(router);
}

static void gorgo_weighs_distance_against_cache(void) {
    /* 6,496 cached tokens save 611 ms: a server 500 ms away is worth it, one 700 ms away is not. */
    for (uint64_t far_ms = 500; far_ms <= 700; far_ms += 200) {
        gotoni_router *router = router_with(2);
        OK(gotoni_observe_rtt(router, 1, 0, 0));
        OK(gotoni_observe_rtt(router, 2, far_ms * MILLISECOND, 0));
        insert(router, 2, tokens, 6500);
        EQUAL(route(router, tokens, 6500, 0).server, far_ms == 500 ? 2 : 1);
        end(router);
    }
}

/* ----- the others ----- */

static void prefix_tree_takes_the_longest_match_then_the_least_load(void) {
    gotoni_router *router = router_with(3);
    OK(gotoni_policy_set(router, GOTONI_POLICY_PREFIX_TREE));
    insert(router, 1, tokens, 32);
    insert(router, 2, tokens, 64);
    insert(router, 3, tokens, 64);
    give_load(router, 2, 100, 1);
    OK(gotoni_observe_rtt(router, 3, 900 * MILLISECOND, 0)); /* distance does not count */
    EQUAL(route(router, tokens, 64, 0).server, 3);
    gotoni_decision decision = route(router, NULL, 0, 0);
    EQUAL(decision.server, 1); /* no match anywhere, no load */
    EQUAL(decision.reason, GOTONI_REASON_NO_MATCH);
    end(router);
}

static void least_load_takes_the_fewest_tokens_then_the_fewest_requests(void) {
    gotoni_router *router = router_with(3);
    OK(gotoni_policy_set(router, GOTONI_POLICY_LEAST_LOAD));
    give_load(router, 1, 200, 0);
    give_load(router, 2, 50, 1);
    give_load(router, 2, 50, 0);
    give_load(router, 3, 100, 1);
    EQUAL(route(router, tokens, 16, 0).server, 3); /* 100 tokens like server 2, but one request */
    EQUAL(route(router, tokens, 16, 0).server, 2);
    end(router);
}

static void least_request_takes_the_fewest_requests(void) {
    gotoni_router *router = router_with(2);
    OK(gotoni_policy_set(router, GOTONI_POLICY_LEAST_REQUEST));
    give_load(router, 1, 5000, 1);
    give_load(router, 2, 1, 0);
    give_load(router, 2, 1, 1);
    EQUAL(route(router, tokens, 16, 0).server, 1);
    end(router);
}

static void session_affinity_keeps_a_session_and_moves_only_those_of_a_leaver(void) {
    enum { SESSIONS = 400 };
    gotoni_router *router = router_with(4);
    OK(gotoni_policy_set(router, GOTONI_POLICY_SESSION_AFFINITY));
    uint64_t home[SESSIONS];
    unsigned per_server[5] = { 0 };
    for (uint64_t i = 0; i < SESSIONS; i += 1) {
        home[i] = chosen_for(router, gotoni_key(&i, sizeof i));
        per_server[home[i]] += 1;
        EQUAL(chosen_for(router, gotoni_key(&i, sizeof i)), home[i]);
    }
    for (int id = 1; id <= 4; id += 1) CHECK(per_server[id] > SESSIONS / 8); /* about a quarter each */
    OK(gotoni_server_remove(router, 2, 0));
    for (uint64_t i = 0; i < SESSIONS; i += 1) {
        uint64_t server = chosen_for(router, gotoni_key(&i, sizeof i));
        if (home[i] != 2) EQUAL(server, home[i]);
        else CHECK(server != 2);
    }
    end(router);
}

static void session_affinity_without_a_session_takes_the_least_load(void) {
    gotoni_router *router = router_with(2);
    OK(gotoni_policy_set(router, GOTONI_POLICY_SESSION_AFFINITY));
    give_load(router, 2, 100, 0);
    gotoni_decision decision = route(router, tokens, 16, 0);
    EQUAL(decision.server, 1);
    EQUAL(decision.reason, GOTONI_REASON_NO_SESSION);
    end(router);
}

static void power_of_two_takes_the_less_loaded_of_two(void) {
    gotoni_router *router = router_with(3);
    OK(gotoni_policy_set(router, GOTONI_POLICY_POWER_OF_TWO));
    give_load(router, 3, 5000, 0); /* the most loaded of three never wins against another */
    for (int i = 0; i < 50; i += 1) CHECK(route(router, tokens, 1, 0).server != 3);
    end(router);
    router = router_with(1);
    OK(gotoni_policy_set(router, GOTONI_POLICY_POWER_OF_TWO));
    EQUAL(route(router, tokens, 1, 0).server, 1);
    end(router);
}

static void round_robin_goes_in_turn(void) {
    gotoni_router *router = router_with(3);
    OK(gotoni_policy_set(router, GOTONI_POLICY_ROUND_ROBIN));
    uint64_t first[3];
    for (int i = 0; i < 3; i += 1) first[i] = route(router, tokens, 16, 0).server;
    CHECK(first[0] != first[1] && first[1] != first[2] && first[0] != first[2]);
    for (int i = 0; i < 9; i += 1) EQUAL(route(router, tokens, 16, 0).server, first[i % 3]);
    end(router);
}

static void random_reaches_every_server_about_equally(void) {
    gotoni_router *router = router_with(4);
    OK(gotoni_policy_set(router, GOTONI_POLICY_RANDOM));
    unsigned per_server[5] = { 0 };
    for (int i = 0; i < 4000; i += 1) per_server[route(router, NULL, 0, 0).server] += 1;
    for (int id = 1; id <= 4; id += 1) CHECK(per_server[id] > 800 && per_server[id] < 1200);
    end(router);
}

static void the_seed_decides_chance_and_nothing_else_does(void) {
    uint64_t choices[3][64];
    for (int run = 0; run < 3; run += 1) {
        gotoni_config config = { .struct_size = sizeof config, .seed = run == 2 ? 43 : 42 };
        gotoni_router *router = NULL;
        OK(gotoni_router_create(&config, &router));
        for (unsigned id = 1; id <= 8; id += 1) {
            gotoni_server server = { .struct_size = sizeof server, .id = id };
            OK(gotoni_server_add(router, &server, 0));
        }
        for (int i = 0; i < 64; i += 1) { /* ties under gorgo, then pure chance */
            if (i == 32) OK(gotoni_policy_set(router, GOTONI_POLICY_RANDOM));
            choices[run][i] = route(router, tokens, 16, 0).server;
        }
        end(router);
    }
    CHECK(memcmp(choices[0], choices[1], sizeof choices[0]) == 0);
    CHECK(memcmp(choices[0], choices[2], sizeof choices[0]) != 0);
}

/* Two that decode beside it: 100 ms more for each, and each waits for its prefill of 94 ms. The rest is nobody's. */
static void predictive_adds_up_what_it_expects(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_policy_set(router, GOTONI_POLICY_PREDICTIVE));
    OK(gotoni_knob_set(router, GOTONI_KNOB_LEARNING, 0));
    OK(gotoni_knob_set(router, GOTONI_KNOB_DECODE_WEIGHT, 1));
    OK(gotoni_knob_set(router, GOTONI_KNOB_OTHERS_WEIGHT, 0.5));
    OK(gotoni_observe_rtt(router, 1, 10 * MILLISECOND, 0));
    give_load(router, 1, 32, 1);
    give_load(router, 1, 32, 1);
    gotoni_request request = request_of(waiting, 1000);
    gotoni_candidate row = { .struct_size = sizeof row };
    gotoni_decision decision = { .struct_size = sizeof decision };
    size_t count;
    OK(gotoni_explain(router, &request, 0, &row, 1, &count, &decision));
    EQUAL(row.predicted_network_ns, 10 * MILLISECOND);
    EQUAL(row.predicted_upload_ns, 0);
    EQUAL(row.predicted_wait_ns, 0);
    EQUAL((row.predicted_prefill_ns + 500) / 1000, 94000);
    EQUAL((row.predicted_decode_ns + 500) / 1000, 3200000);
    EQUAL((row.predicted_others_ns + 500) / 1000, 2 * (94000 + 100000));
    EQUAL(row.predicted_doubt_ns, 0);
    EQUAL((row.predicted_cost_ns + 500) / 1000, 10000 + 94000 + 3200000 + 94000 + 100000);
    EQUAL(decision.predicted_first_token_ns, row.predicted_network_ns + row.predicted_prefill_ns);
    EQUAL(decision.predicted_last_token_ns, decision.predicted_first_token_ns + row.predicted_decode_ns);
    EQUAL(decision.predicted_cost_ns, row.predicted_cost_ns);
    end(router);
}

/* An engine three times as slow as was said, whose answers of ten tokens take a second. */
static void speeds_are_learned_from_answers(void) {
    gotoni_router *router = router_with(1);
    OK(gotoni_observe_rtt(router, 1, 0, 0));
    uint64_t now = 0;
    for (size_t round = 0; round < 400; round += 1) {
        const size_t count = 200 + 37 * round % 1500;
        fill(waiting, count, 300000 + (uint32_t)round * 2000);
        uint64_t ticket = route(router, waiting, count, now).ticket;
        now += count * 282000;
        OK(gotoni_first_token(router, ticket, now));
        now += 1000 * MILLISECOND;
        OK(gotoni_observe_output_tokens(router, ticket, 10, now));
        OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, now));
    }
    fill(waiting, 6500, 200000);
    const gotoni_server_info info = info_of(router, 1, now);
    EQUAL(info.predictions, 400);
    CHECK(fabs(info.prefill_ms_per_token + info.reading_ms_per_token - 0.282) < 0.02);
    CHECK(fabs(info.decode_ms - 1000) < 100);
    CHECK(fabs(info.prediction_bias_ms) < 20 && info.prediction_error_ms < 20);
    STATUS(gotoni_observe_output_tokens(NULL, 1, 10, now), GOTONI_E_ARGUMENT);
    STATUS(gotoni_observe_output_tokens(router, 0, 10, now), GOTONI_E_TICKET);
    end(router);
}

/* ----- knobs ----- */

static void every_knob_describes_itself_and_starts_at_its_default(void) {
    const double defaults[] = { 0.094, 1, 0.5, 0.1, 100, 60000, 0.3, 5000, 500, 600000, 0.5,
                                3000, 100, 0.6, 0.15, 1 };
    gotoni_router *router = router_with(0);
    uint32_t knob = 1;
    for (;; knob += 1) {
        gotoni_knob_info info = { .struct_size = sizeof info };
        gotoni_status status = gotoni_knob_info_get(knob, &info);
        if (status == GOTONI_E_UNKNOWN_KNOB) break;
        EQUAL(status, GOTONI_OK);
        EQUAL(info.knob, knob);
        CHECK(info.name != NULL && *info.name != '\0');
        CHECK(info.unit != NULL);
        CHECK(info.meaning != NULL && *info.meaning != '\0' && strchr(info.meaning, '\n') == NULL);
        CHECK(info.minimum <= info.default_value && info.default_value <= info.maximum);
        if (knob <= sizeof defaults / sizeof *defaults) CHECK(info.default_value == defaults[knob - 1]);
        uint32_t from_name = 0;
        OK(gotoni_knob_from_name(info.name, &from_name));
        EQUAL(from_name, knob);
        double value = -1;
        OK(gotoni_knob_get(router, knob, &value));
        CHECK(value == info.default_value);
    }
    EQUAL(knob, GOTONI_KNOB_LEARNING + 1);
    end(router);
}

static void a_knob_keeps_its_bounds(void) {
    gotoni_router *router = router_with(1);
    gotoni_knob_info info = { .struct_size = sizeof info };
    for (uint32_t knob = 1; gotoni_knob_info_get(knob, &info) == GOTONI_OK; knob += 1) {
        const double refused[] = { nextafter(info.minimum, -INFINITY), nextafter(info.maximum, INFINITY), -1,
                                   NAN, INFINITY, -INFINITY };
        const double accepted[] = { info.minimum, info.maximum };
        for (size_t i = 0; i < 2; i += 1) {
            double value = -1;
            OK(gotoni_knob_set(router, knob, accepted[i]));
            OK(gotoni_knob_get(router, knob, &value));
            CHECK(value == accepted[i]);
            for (size_t j = 0; j < sizeof refused / sizeof *refused; j += 1)
                STATUS(gotoni_knob_set(router, knob, refused[j]), GOTONI_E_RANGE);
            OK(gotoni_knob_get(router, knob, &value));
            CHECK(value == accepted[i]);
            route(router, tokens, 64, 0); /* no bound upsets a cost */
        }
    }
    end(router);
}

static void an_unknown_knob_is_named_as_such(void) {
    const uint32_t unknown[] = { 0, GOTONI_KNOB_LEARNING + 1, UINT32_MAX };
    const char *const names[] = { "", "MS_PER_TOKEN", "ms_per_token ", "ms_per_toke" };
    gotoni_router *router = router_with(0);
    gotoni_knob_info info = { .struct_size = sizeof info };
    double value;
    uint32_t knob = 77;
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i += 1) {
        STATUS(gotoni_knob_set(router, unknown[i], 1), GOTONI_E_UNKNOWN_KNOB);
        STATUS(gotoni_knob_get(router, unknown[i], &value), GOTONI_E_UNKNOWN_KNOB);
        STATUS(gotoni_knob_info_get(unknown[i], &info), GOTONI_E_UNKNOWN_KNOB);
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i += 1)
        STATUS(gotoni_knob_from_name(names[i], &knob), GOTONI_E_UNKNOWN_KNOB);
    EQUAL(knob, 77);
    end(router);
}

static void knob_structs_of_other_versions_are_respected(void) {
    struct { gotoni_knob_info known; unsigned char newer[24]; } info;
    const size_t old = offsetof(gotoni_knob_info, unit);
    memset(&info, CANARY, sizeof info);
    info.known.struct_size = (uint32_t)old;
    OK(gotoni_knob_info_get(1, &info.known));
    CHECK(strcmp(info.known.name, "ms_per_token") == 0);
    CHECK(untouched((char *)&info + old, sizeof info - old));
    info.known.struct_size = sizeof info;
    OK(gotoni_knob_info_get(1, &info.known));
    CHECK(strcmp(info.known.unit, "ms/token") == 0);
    CHECK(untouched(info.newer, sizeof info.newer));
}

int main(void) {
    fill(tokens, 6500, 0);
    fill(waiting, 6500, 200000);
    TEST(every_policy_has_its_documented_name);
    TEST(an_unknown_policy_is_named_as_such);
    TEST(wrong_arguments_are_refused);
    TEST(the_policy_can_be_switched_at_run_time);
    TEST(the_gorgo_cost_is_as_computed_by_hand);
    TEST(an_unknown_round_trip_costs_the_prior);
    TEST(every_weight_of_the_gorgo_cost_can_be_turned);
    TEST(gorgo_weighs_distance_against_cache);
    TEST(prefix_tree_takes_the_longest_match_then_the_least_load);
    TEST(least_load_takes_the_fewest_tokens_then_the_fewest_requests);
    TEST(least_request_takes_the_fewest_requests);
    TEST(session_affinity_keeps_a_session_and_moves_only_those_of_a_leaver);
    TEST(session_affinity_without_a_session_takes_the_least_load);
    TEST(power_of_two_takes_the_less_loaded_of_two);
    TEST(round_robin_goes_in_turn);
    TEST(random_reaches_every_server_about_equally);
    TEST(predictive_adds_up_what_it_expects);
    TEST(speeds_are_learned_from_answers);
    TEST(the_seed_decides_chance_and_nothing_else_does);
    TEST(every_knob_describes_itself_and_starts_at_its_default);
    TEST(a_knob_keeps_its_bounds);
    TEST(an_unknown_knob_is_named_as_such);
    TEST(knob_structs_of_other_versions_are_respected);
    return check_result();
}
