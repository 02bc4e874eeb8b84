/* Tests of the header's section "Tuner". */
#include "check.h"
#include <math.h>

static uint32_t tokens[64];
static uint64_t now; /* nanoseconds */

static gotoni_tuner_status status_of(gotoni_router *router) {
    gotoni_tuner_status status = { .struct_size = sizeof status };
    OK(gotoni_tune_status(router, &status));
    return status;
}

/* One request: the first token after `ttft` ms where it is decided as usual, after `trial_ttft` where on trial. */
static void serve(gotoni_router *router, uint64_t session, double ttft, double trial_ttft) {
    gotoni_request request = request_of(tokens, 64);
    request.session_key = session;
    gotoni_decision decision = { .struct_size = sizeof decision };
    now += 50000000;
    OK(gotoni_route(router, &request, now, &decision));
    CHECK(decision.trial <= 1);
    now += (uint64_t)(1e6 * (decision.trial ? trial_ttft : ttft));
    OK(gotoni_first_token(router, decision.ticket, now));
    OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, now));
}

static void it_is_off_until_it_is_started_and_there_must_be_weights(void) {
    gotoni_router *router = router_with(2);
    gotoni_tuned_weight weights[8] = { { .struct_size = sizeof *weights } };
    size_t count = 77;
    EQUAL(status_of(router).phase, GOTONI_TUNER_OFF);
    OK(gotoni_tune_weights(router, weights, 8, &count));
    EQUAL(count, 0);
    OK(gotoni_tune_freeze(router));
    OK(gotoni_tune_rollback(router));
    EQUAL(status_of(router).phase, GOTONI_TUNER_OFF);
    OK(gotoni_policy_set(router, GOTONI_POLICY_RANDOM));
    STATUS(gotoni_tune_start(router, 1000, 50), GOTONI_E_UNTUNABLE);
    OK(gotoni_policy_set(router, GOTONI_POLICY_PREDICTIVE));
    OK(gotoni_knob_set(router, GOTONI_KNOB_DECODE_WEIGHT, 0));
    OK(gotoni_knob_set(router, GOTONI_KNOB_OTHERS_WEIGHT, 0));
    OK(gotoni_tune_start(router, 1000, 50));
    OK(gotoni_tune_weights(router, weights, 8, &count));
    EQUAL(count, 1);
    EQUAL(weights[0].knob, GOTONI_KNOB_EVICTION_WEIGHT);
    OK(gotoni_knob_set(router, GOTONI_KNOB_EVICTION_WEIGHT, 0));
    EQUAL(status_of(router).phase, GOTONI_TUNER_OFF);
    STATUS(gotoni_tune_start(router, 1000, 50), GOTONI_E_UNTUNABLE);
    end(router);
}

static void wrong_arguments_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_tuner_status status = { .struct_size = 12 };
    gotoni_tuned_weight weights[4] = { { .struct_size = sizeof *weights } };
    size_t count = 0;
    const double wrong[] = { 0, -1, 0.5, 3600001, INFINITY, NAN };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i += 1) {
        STATUS(gotoni_tune_start(router, wrong[i], 50), GOTONI_E_RANGE);
        STATUS(gotoni_tune_start(router, 1000, wrong[i]), GOTONI_E_RANGE);
    }
    EQUAL(status_of(router).phase, GOTONI_TUNER_OFF);
    STATUS(gotoni_tune_start(NULL, 1000, 50), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_freeze(NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_rollback(NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_status(router, &status), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_status(router, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_weights(router, weights, 4, NULL), GOTONI_E_ARGUMENT);
    OK(gotoni_tune_start(router, 1000, 50));
    STATUS(gotoni_tune_weights(router, weights, 3, &count), GOTONI_E_BUFFER);
    EQUAL(count, 4);
    OK(gotoni_tune_weights(router, weights, 4, &count));
    EQUAL(weights[0].knob, GOTONI_KNOB_RTT_WEIGHT);
    CHECK(weights[0].home == 1 && weights[0].incumbent == 1 && weights[0].trial == 1);
    end(router);
}

static void what_is_much_worse_is_ended_early_and_what_was_set_stays_in_force(void) {
    gotoni_router *router = router_with(3);
    OK(gotoni_tune_start(router, 1000, 50));
    for (uint64_t i = 1; i <= 4000; i += 1) serve(router, i, 100, 5000);
    gotoni_tuner_status status = status_of(router);
    EQUAL(status.requests, 4000);
    EQUAL(status.ended, 4000);
    CHECK(status.rolled_back >= 1);
    EQUAL(status.accepted, 0);
    CHECK(status.goodput > 0.9);
    CHECK(status.spent > 0 && status.spent < 120);
    gotoni_tuned_weight weights[4] = { { .struct_size = sizeof *weights } };
    size_t count = 0;
    OK(gotoni_tune_weights(router, weights, 4, &count));
    for (size_t i = 0; i < count; i += 1) CHECK(weights[i].incumbent == weights[i].home);
    end(router);
}

static void what_is_better_is_accepted_and_rolled_back_on_order(void) {
    gotoni_router *router = router_with(3);
    double value = 0;
    gotoni_tuned_weight weights[4] = { { .struct_size = sizeof *weights } };
    size_t count = 0;
    OK(gotoni_tune_start(router, 1000, 50));
    for (uint64_t i = 1; i <= 20000 && status_of(router).accepted == 0; i += 1) serve(router, i, 1500, 100);
    gotoni_tuner_status status = status_of(router);
    EQUAL(status.accepted, 1);
    OK(gotoni_tune_freeze(router));
    EQUAL(status_of(router).phase, GOTONI_TUNER_FROZEN);
    OK(gotoni_tune_weights(router, weights, 4, &count));
    int changed = 0;
    for (size_t i = 0; i < count; i += 1) changed += weights[i].incumbent != weights[i].home;
    CHECK(changed >= 1);
    OK(gotoni_knob_get(router, weights[0].knob, &value));
    CHECK(value == weights[0].home);
    OK(gotoni_tune_rollback(router));
    EQUAL(status_of(router).phase, GOTONI_TUNER_FROZEN);
    OK(gotoni_tune_weights(router, weights, 4, &count));
    for (size_t i = 0; i < count; i += 1) CHECK(weights[i].incumbent == weights[i].home);
    end(router);
}

static void what_another_has_found_is_followed_and_gone_on_from(void) {
    gotoni_router *found = router_with(3), *router = router_with(3);
    gotoni_tuned_weight weights[4] = { { .struct_size = sizeof *weights } }, here[4] = { { .struct_size = sizeof *here } };
    size_t count = 0;
    OK(gotoni_tune_start(found, 1000, 50));
    for (uint64_t i = 1; i <= 20000 && status_of(found).accepted == 0; i += 1) serve(found, i, 1500, 100);
    OK(gotoni_tune_weights(found, weights, 4, &count));
    OK(gotoni_tune_follow(router, 1000, 50, weights, count));
    EQUAL(status_of(router).phase, GOTONI_TUNER_FOLLOWING);
    CHECK(status_of(router).first_token_limit_ms == 1000 && status_of(router).inter_token_limit_ms == 50);
    OK(gotoni_tune_weights(router, here, 4, &count));
    int changed = 0;
    for (size_t i = 0; i < count; i += 1) {
        CHECK(here[i].knob == weights[i].knob && here[i].home == weights[i].home);
        CHECK(here[i].incumbent == weights[i].incumbent && here[i].trial == here[i].incumbent);
        changed += here[i].incumbent != here[i].home;
    }
    CHECK(changed >= 1);
    OK(gotoni_tune_start(router, 1000, 50));
    OK(gotoni_tune_weights(router, here, 4, &count));
    for (size_t i = 0; i < count; i += 1) CHECK(here[i].incumbent == weights[i].incumbent);
    OK(gotoni_tune_rollback(router));
    OK(gotoni_tune_follow(router, 1000, 50, NULL, 0)); /* none is named: all are as at home */
    OK(gotoni_tune_weights(router, here, 4, &count));
    for (size_t i = 0; i < count; i += 1) CHECK(here[i].incumbent == here[i].home);
    OK(gotoni_knob_set(router, here[0].knob, 2));
    EQUAL(status_of(router).phase, GOTONI_TUNER_OFF);
    end(found);
    end(router);
}

static void what_cannot_be_followed_is_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_tuned_weight weight = { .struct_size = sizeof weight, .knob = GOTONI_KNOB_RTT_WEIGHT, .incumbent = 2 };
    gotoni_tuned_weight five[5] = { weight, weight, weight, weight, weight };
    STATUS(gotoni_tune_follow(NULL, 1000, 50, &weight, 1), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_follow(router, 1000, 50, NULL, 1), GOTONI_E_ARGUMENT);
    STATUS(gotoni_tune_follow(router, 0, 50, &weight, 1), GOTONI_E_RANGE);
    STATUS(gotoni_tune_follow(router, 1000, NAN, &weight, 1), GOTONI_E_RANGE);
    STATUS(gotoni_tune_follow(router, 1000, 50, five, 5), GOTONI_E_RANGE);
    STATUS(gotoni_tune_follow(router, 1000, 50, five, (size_t)-1), GOTONI_E_RANGE);
    const double wrong[] = { 0, -1, INFINITY, NAN };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i += 1) {
        weight.incumbent = wrong[i];
        STATUS(gotoni_tune_follow(router, 1000, 50, &weight, 1), GOTONI_E_RANGE);
    }
    weight.incumbent = 2;
    weight.knob = 999;
    STATUS(gotoni_tune_follow(router, 1000, 50, &weight, 1), GOTONI_E_UNKNOWN_KNOB);
    weight.knob = GOTONI_KNOB_DECODE_WEIGHT;
    STATUS(gotoni_tune_follow(router, 1000, 50, &weight, 1), GOTONI_E_UNTUNABLE);
    weight.struct_size = 3;
    STATUS(gotoni_tune_follow(router, 1000, 50, &weight, 1), GOTONI_E_ARGUMENT);
    EQUAL(status_of(router).phase, GOTONI_TUNER_OFF);
    OK(gotoni_policy_set(router, GOTONI_POLICY_RANDOM));
    STATUS(gotoni_tune_follow(router, 1000, 50, NULL, 0), GOTONI_E_UNTUNABLE);
    end(router);
}

int main(void) {
    for (uint32_t i = 0; i < 64; i += 1) tokens[i] = i;
    TEST(it_is_off_until_it_is_started_and_there_must_be_weights);
    TEST(wrong_arguments_are_refused);
    TEST(what_is_much_worse_is_ended_early_and_what_was_set_stays_in_force);
    TEST(what_is_better_is_accepted_and_rolled_back_on_order);
    TEST(what_another_has_found_is_followed_and_gone_on_from);
    TEST(what_cannot_be_followed_is_refused);
    return check_result();
}
