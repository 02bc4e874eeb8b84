/* Tests of the header's section "Snapshot". */
#include "check.h"

enum { LARGEST = 1 << 20 };
static unsigned char bytes[LARGEST], other_bytes[LARGEST];

/* A router that knows something of everything a snapshot carries. */
static gotoni_router *experienced_router(void) {
    gotoni_router *router = router_with(4);
    uint32_t tokens[96];
    fill(tokens, 96, 0);
    for (uint64_t id = 1; id <= 4; id += 1) {
        OK(gotoni_observe_rtt(router, id, id * 10 * MILLISECOND, 0));
        fill(tokens + 48, 48, 1000 * (uint32_t)id);
        insert(router, id, tokens, 96);
    }
    gotoni_server server = { .struct_size = sizeof server, .id = 4, .max_requests = 3, .kv_capacity_tokens = 160 };
    OK(gotoni_server_update(router, &server, 0));
    OK(gotoni_server_mark(router, 3, GOTONI_SERVER_DRAINING, 0));
    OK(gotoni_policy_set(router, GOTONI_POLICY_POWER_OF_TWO));
    OK(gotoni_knob_set(router, GOTONI_KNOB_MS_PER_TOKEN, 0.5));
    for (uint64_t now = 0; now < 3; now += 1) { /* answers of 30 ms, the first token after 20 of them */
        uint64_t ticket = route(router, tokens, 96, now * SECOND).ticket;
        OK(gotoni_first_token(router, ticket, now * SECOND + 20 * MILLISECOND));
        OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, now * SECOND + 30 * MILLISECOND));
    }
    return router;
}

static size_t save(gotoni_router *router, unsigned char *into) {
    size_t size = 0;
    OK(gotoni_snapshot_save(router, into, LARGEST, &size));
    return size;
}

/* Both routers decide the same from here on, also when prompts are cached and forgotten on the way. */
static void check_same_decisions(gotoni_router *one, gotoni_router *other) {
    for (uint32_t i = 0; i < 200; i += 1) {
        uint32_t tokens[96];
        fill(tokens, 48, 0);
        fill(tokens + 48, 48, i % 11 * 500);
        if (i % 20 == 0) {
            OK(gotoni_policy_set(one, 1 + i / 20 % 9));
            OK(gotoni_policy_set(other, 1 + i / 20 % 9));
        }
        gotoni_decision a = route(one, tokens, 96, i), b = route(other, tokens, 96, i);
        EQUAL(a.server, b.server);
        EQUAL(a.matched_tokens, b.matched_tokens);
        EQUAL(a.cost_ns, b.cost_ns);
        OK(gotoni_finish(one, a.ticket, i % 3 == 0 ? GOTONI_FINISH_FAILED : GOTONI_FINISH_OK, i));
        OK(gotoni_finish(other, b.ticket, i % 3 == 0 ? GOTONI_FINISH_FAILED : GOTONI_FINISH_OK, i));
    }
}

static void a_loaded_router_decides_as_the_saved_one(void) {
    gotoni_router *saved = experienced_router(), *loaded = router_with(0);
    size_t size = save(saved, bytes);
    OK(gotoni_snapshot_load(loaded, bytes, size, 0));
    OK(gotoni_router_check(loaded));
    EQUAL(stats_of(loaded).servers, 4);
    EQUAL(info_of(loaded, 4, 0).max_requests, 3);
    EQUAL(info_of(loaded, 4, 0).kv_capacity_tokens, 160);
    EQUAL(info_of(loaded, 3, 0).state, GOTONI_SERVER_DRAINING);
    for (uint64_t id = 1; id <= 4; id += 1) {
        EQUAL(info_of(loaded, id, 0).rtt_ns, id * 10 * MILLISECOND);
        EQUAL(info_of(loaded, id, 0).held_tokens, info_of(saved, id, 0).held_tokens);
    }
    check_same_decisions(saved, loaded);
    end(saved);
    end(loaded);
}

static void a_loaded_router_predicts_as_the_saved_one(void) {
    gotoni_router *saved = experienced_router(), *loaded = router_with(0), *fresh = router_with(4);
    size_t size = save(saved, bytes), count;
    OK(gotoni_snapshot_load(loaded, bytes, size, 0));
    uint32_t tokens[96];
    fill(tokens, 96, 500000);
    gotoni_request request = request_of(tokens, 96);
    gotoni_candidate before[4] = { { .struct_size = sizeof *before } }, after[4] = { { .struct_size = sizeof *after } };
    gotoni_candidate untaught[4] = { { .struct_size = sizeof *untaught } };
    gotoni_decision decision = { .struct_size = sizeof decision };
    OK(gotoni_explain(saved, &request, 3 * SECOND, before, 4, &count, &decision));
    OK(gotoni_explain(loaded, &request, 3 * SECOND, after, 4, &count, &decision));
    OK(gotoni_explain(fresh, &request, 3 * SECOND, untaught, 4, &count, &decision));
    for (size_t i = 0; i < 4; i += 1) {
        EQUAL(after[i].predicted_network_ns, before[i].predicted_network_ns);
        EQUAL(after[i].predicted_prefill_ns, before[i].predicted_prefill_ns);
        EQUAL(after[i].predicted_decode_ns, before[i].predicted_decode_ns);
        EQUAL(after[i].predicted_doubt_ns, before[i].predicted_doubt_ns);
        EQUAL(after[i].predicted_cost_ns, before[i].predicted_cost_ns);
        CHECK(before[i].predicted_decode_ns != untaught[i].predicted_decode_ns);
        gotoni_server_info one = info_of(saved, i + 1, 3 * SECOND), other = info_of(loaded, i + 1, 3 * SECOND);
        EQUAL(other.predictions, one.predictions);
        CHECK(other.prediction_error_ms == one.prediction_error_ms && other.decode_ms == one.decode_ms);
    }
    end(saved);
    end(loaded);
    end(fresh);
}

static void saving_a_loaded_router_gives_the_same_bytes(void) {
    gotoni_router *saved = experienced_router(), *loaded = router_with(0);
    size_t size = save(saved, bytes);
    OK(gotoni_snapshot_load(loaded, bytes, size, 0));
    EQUAL(save(loaded, other_bytes), size);
    CHECK(memcmp(bytes, other_bytes, size) == 0);
    end(saved);
    end(loaded);
}

static void loading_replaces_what_was_there(void) {
    gotoni_router *saved = experienced_router(), *other = router_with(9);
    uint32_t tokens[64];
    fill(tokens, 64, 70000);
    insert(other, 9, tokens, 64);
    OK(gotoni_snapshot_load(other, bytes, save(saved, bytes), 0));
    EQUAL(stats_of(other).servers, 4);
    gotoni_server_info info = { .struct_size = sizeof info };
    STATUS(gotoni_server_get(other, 9, 0, &info), GOTONI_E_UNKNOWN_SERVER);
    gotoni_request request = request_of(tokens, 64);
    size_t count = 9;
    OK(gotoni_match(other, &request, NULL, NULL, 0, &count));
    EQUAL(count, 0);
    end(saved);
    end(other);
}

static void open_tickets_end_when_a_snapshot_is_loaded(void) {
    gotoni_router *router = router_with(2);
    size_t size = save(router, bytes);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    uint64_t ticket = route(router, tokens, 64, 0).ticket;
    OK(gotoni_commit(router, ticket, 0));
    OK(gotoni_snapshot_load(router, bytes, size, 0));
    EQUAL(stats_of(router).open_tickets, 0);
    for (uint64_t id = 1; id <= 2; id += 1) EQUAL(info_of(router, id, 0).queued_requests, 0);
    STATUS(gotoni_first_token(router, ticket, 0), GOTONI_E_TICKET_ENDED);
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 0));
    end(router);
}

static void an_empty_router_can_be_saved_and_loaded(void) {
    gotoni_router *empty = router_with(0), *other = router_with(2);
    OK(gotoni_snapshot_load(other, bytes, save(empty, bytes), 0));
    EQUAL(stats_of(other).servers, 0);
    end(empty);
    end(other);
}

static void a_buffer_that_is_too_small_is_left_alone_and_the_size_is_said(void) {
    gotoni_router *router = experienced_router();
    size_t size = save(router, bytes), needed = 0;
    STATUS(gotoni_snapshot_save(router, NULL, 0, &needed), GOTONI_E_BUFFER);
    EQUAL(needed, size);
    memset(other_bytes, CANARY, size);
    needed = 0;
    STATUS(gotoni_snapshot_save(router, other_bytes, size - 1, &needed), GOTONI_E_BUFFER);
    EQUAL(needed, size);
    CHECK(untouched(other_bytes, size));
    OK(gotoni_snapshot_save(router, other_bytes, size, &needed));
    EQUAL(needed, size);
    end(router);
}

/* These bytes are no snapshot, and the router is afterwards as it was. `before` are its own bytes. */
static void check_refused(gotoni_router *router, const void *damaged, size_t size, const void *before,
                          size_t before_size) {
    gotoni_status status = gotoni_snapshot_load(router, damaged, size, 0);
    CHECK(status == GOTONI_E_SNAPSHOT || status == GOTONI_E_SNAPSHOT_VERSION);
    static unsigned char after[LARGEST];
    EQUAL(save(router, after), before_size);
    CHECK(memcmp(before, after, before_size) == 0);
}

static void every_damaged_byte_is_noticed(void) {
    gotoni_router *saved = experienced_router(), *router = router_with(2);
    size_t size = save(saved, bytes), before = save(router, other_bytes);
    const unsigned char flips[] = { 0x01, 0x80, 0xFF };
    for (size_t i = 0; i < size; i += 1) {
        for (size_t j = 0; j < sizeof flips; j += 1) {
            bytes[i] ^= flips[j];
            check_refused(router, bytes, size, other_bytes, before);
            bytes[i] ^= flips[j];
        }
    }
    OK(gotoni_snapshot_load(router, bytes, size, 0));
    end(saved);
    end(router);
}

/* Whatever was loaded, the router must be sound and able to work. */
static void use(gotoni_router *router) {
    OK(gotoni_router_check(router));
    uint64_t ids[16];
    size_t count = 0;
    OK(gotoni_server_list(router, ids, 16, &count));
    for (size_t i = 0; i < count; i += 1) info_of(router, ids[i], 0);
    uint32_t tokens[96];
    fill(tokens, 96, 0);
    gotoni_request request = request_of(tokens, 96);
    gotoni_decision decision = { .struct_size = sizeof decision };
    if (gotoni_route(router, &request, 0, &decision) == GOTONI_OK) {
        OK(gotoni_first_token(router, decision.ticket, MILLISECOND));
        OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, 2 * MILLISECOND));
    }
    OK(gotoni_router_check(router));
}

/* The checksum stops accidents only: anybody can compute it. */
static void forged_numbers_behind_a_right_checksum_are_refused_or_harmless(void) {
    const uint64_t numbers[] = { 0, 1, UINT32_MAX, UINT64_C(1) << 59, UINT64_C(1) << 63, INT64_MAX, INT64_MAX - 1,
                                 UINT64_MAX, UINT64_MAX - 1 };
    const size_t checksum_size = sizeof(uint64_t), widths[] = { 1, 4, 8 };
    /* Small bounds, as every load makes the tables anew. */
    gotoni_config config = { .struct_size = sizeof config, .memory_budget_bytes = 64 << 10, .max_servers = 8,
                             .max_tickets = 8 };
    gotoni_router *saved = experienced_router(), *router = NULL;
    OK(gotoni_router_create(&config, &router));
    size_t size = save(saved, bytes), end_of_body = size - checksum_size;
    for (size_t i = 0; i < end_of_body; i += 1) {
        for (size_t j = 0; j < sizeof numbers / sizeof *numbers; j += 1) {
            for (size_t width = 0; width < 3; width += 1) {
                if (i + widths[width] > end_of_body) continue;
                memcpy(other_bytes, bytes, size);
                memcpy(other_bytes + i, &numbers[j], widths[width]);
                uint64_t checksum = gotoni_key(other_bytes, end_of_body);
                memcpy(other_bytes + end_of_body, &checksum, checksum_size);
                if (gotoni_snapshot_load(router, other_bytes, size, 0) == GOTONI_OK) use(router);
            }
        }
    }
    end(saved);
    end(router);
}

static void every_truncation_and_extension_is_noticed(void) {
    gotoni_router *saved = experienced_router(), *router = router_with(2);
    size_t size = save(saved, bytes), before = save(router, other_bytes);
    for (size_t length = 0; length < size; length += 1) {
        unsigned char *exact = malloc(length > 0 ? length : 1); /* so that a checker of memory sees reads beyond */
        memcpy(exact, bytes, length);
        check_refused(router, exact, length, other_bytes, before);
        free(exact);
    }
    bytes[size] = 0;
    check_refused(router, bytes, size + 1, other_bytes, before);
    end(saved);
    end(router);
}

static void other_bytes_are_no_snapshot(void) {
    gotoni_router *router = router_with(2);
    size_t before = save(router, other_bytes);
    memset(bytes, 0, 4096);
    check_refused(router, bytes, 4096, other_bytes, before);
    memset(bytes, 0xFF, 4096);
    check_refused(router, bytes, 4096, other_bytes, before);
    check_refused(router, bytes, 0, other_bytes, before);
    end(router);
}

static void a_snapshot_of_another_block_size_is_of_another_version(void) {
    gotoni_router *saved = experienced_router(), *router = NULL;
    gotoni_config config = { .struct_size = sizeof config, .block_tokens = 32 };
    OK(gotoni_router_create(&config, &router));
    STATUS(gotoni_snapshot_load(router, bytes, save(saved, bytes), 0), GOTONI_E_SNAPSHOT_VERSION);
    end(saved);
    end(router);
}

static void a_snapshot_that_does_not_fit_the_bounds_is_refused(void) {
    gotoni_router *saved = experienced_router(), *router = NULL;
    uint32_t tokens[64000];
    fill(tokens, 64000, 0);
    for (uint32_t i = 0; i < 10; i += 1) { /* 40,000 blocks */
        tokens[0] = i;
        insert(saved, 1, tokens, 64000);
        insert(saved, 2, tokens, 64000);
    }
    size_t size = save(saved, bytes);
    gotoni_config few_servers = { .struct_size = sizeof few_servers, .max_servers = 3 };
    gotoni_config small_memory = { .struct_size = sizeof small_memory, .memory_budget_bytes = 64 << 10 };
    const gotoni_config *const configs[] = { &few_servers, &small_memory };
    for (size_t i = 0; i < 2; i += 1) {
        OK(gotoni_router_create(configs[i], &router));
        STATUS(gotoni_snapshot_load(router, bytes, size, 0), GOTONI_E_CAPACITY);
        EQUAL(stats_of(router).servers, 0);
        end(router);
    }
    end(saved);
}

static void wrong_arguments_are_refused(void) {
    gotoni_router *router = router_with(1);
    size_t size = 0;
    STATUS(gotoni_snapshot_save(NULL, bytes, LARGEST, &size), GOTONI_E_ARGUMENT);
    STATUS(gotoni_snapshot_save(router, NULL, LARGEST, &size), GOTONI_E_ARGUMENT);
    STATUS(gotoni_snapshot_save(router, bytes, LARGEST, NULL), GOTONI_E_ARGUMENT);
    size = save(router, bytes);
    STATUS(gotoni_snapshot_load(NULL, bytes, size, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_snapshot_load(router, NULL, size, 0), GOTONI_E_ARGUMENT);
    end(router);
}

int main(void) {
    TEST(a_loaded_router_decides_as_the_saved_one);
    TEST(a_loaded_router_predicts_as_the_saved_one);
    TEST(saving_a_loaded_router_gives_the_same_bytes);
    TEST(loading_replaces_what_was_there);
    TEST(open_tickets_end_when_a_snapshot_is_loaded);
    TEST(an_empty_router_can_be_saved_and_loaded);
    TEST(a_buffer_that_is_too_small_is_left_alone_and_the_size_is_said);
    TEST(every_damaged_byte_is_noticed);
    TEST(every_truncation_and_extension_is_noticed);
    TEST(other_bytes_are_no_snapshot);
    TEST(a_snapshot_of_another_block_size_is_of_another_version);
    TEST(a_snapshot_that_does_not_fit_the_bounds_is_refused);
    TEST(wrong_arguments_are_refused);
    TEST(forged_numbers_behind_a_right_checksum_are_refused_or_harmless);
    return check_result();
}
