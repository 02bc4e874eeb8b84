/* Tests of the header's section "Servers". */
#include "check.h"
#include <stddef.h>

static gotoni_status add(gotoni_router *router, uint64_t id, uint32_t max_requests, uint64_t kv_capacity_tokens) {
    gotoni_server server = { .struct_size = sizeof server, .id = id };
    server.max_requests = max_requests;
    server.kv_capacity_tokens = kv_capacity_tokens;
    return gotoni_server_add(router, &server, 0);
}

static size_t server_count(gotoni_router *router) { return stats_of(router).servers; }

static void a_new_server_is_up_empty_and_far_as_unknown(void) {
    gotoni_router *router = router_with(0);
    OK(add(router, 7, 3, 1000));
    gotoni_server_info info = info_of(router, 7, 0);
    EQUAL(info.state, GOTONI_SERVER_UP);
    EQUAL(info.id, 7);
    EQUAL(info.max_requests, 3);
    EQUAL(info.kv_capacity_tokens, 1000);
    EQUAL(info.rtt_ns, -1);
    EQUAL(info.metrics_known, 0);
    EQUAL(info.held_tokens, 0);
    EQUAL(info.queued_requests + info.running_requests + info.queued_tokens + info.running_tokens, 0);
    end(router);
}

static void any_number_is_a_fine_id(void) {
    gotoni_router *router = router_with(0);
    OK(add(router, 0, 0, 0));
    OK(add(router, UINT64_MAX, 0, 0));
    EQUAL(info_of(router, 0, 0).id, 0);
    CHECK(info_of(router, UINT64_MAX, 0).id == UINT64_MAX);
    end(router);
}

static void an_unset_cache_size_is_the_configured_default(void) {
    gotoni_router *router = router_with(1);
    EQUAL(info_of(router, 1, 0).kv_capacity_tokens, 524288);
    end(router);
    gotoni_config config = { .struct_size = sizeof config, .default_kv_capacity_tokens = 4096 };
    OK(gotoni_router_create(&config, &router));
    OK(add(router, 1, 0, 0));
    EQUAL(info_of(router, 1, 0).kv_capacity_tokens, 4096);
    end(router);
}

static void an_id_can_be_added_only_once(void) {
    gotoni_router *router = router_with(1);
    STATUS(add(router, 1, 0, 0), GOTONI_E_DUPLICATE_SERVER);
    EQUAL(server_count(router), 1);
    end(router);
}

static void wrong_arguments_are_refused(void) {
    gotoni_router *router = router_with(1);
    gotoni_server server = { .struct_size = sizeof server, .id = 2 };
    gotoni_server_info info = { .struct_size = sizeof info };
    uint64_t ids[4];
    size_t count;
    STATUS(gotoni_server_add(NULL, &server, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_add(router, NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_update(NULL, &server, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_update(router, NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_mark(NULL, 1, GOTONI_SERVER_UP, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_mark(router, 1, 3, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_mark(router, 1, UINT32_MAX, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_remove(NULL, 1, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_list(NULL, ids, 4, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_list(router, ids, 4, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_list(router, NULL, 4, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_get(NULL, 1, 0, &info), GOTONI_E_ARGUMENT);
    STATUS(gotoni_server_get(router, 1, 0, NULL), GOTONI_E_ARGUMENT);
    for (uint32_t size = 0; size < sizeof(uint32_t); size += 1) {
        server.struct_size = info.struct_size = size;
        STATUS(gotoni_server_add(router, &server, 0), GOTONI_E_ARGUMENT);
        STATUS(gotoni_server_update(router, &server, 0), GOTONI_E_ARGUMENT);
        STATUS(gotoni_server_get(router, 1, 0, &info), GOTONI_E_ARGUMENT);
    }
    EQUAL(server_count(router), 1);
    EQUAL(info_of(router, 1, 0).state, GOTONI_SERVER_UP);
    end(router);
}

static void an_unknown_server_is_named_as_such(void) {
    gotoni_router *router = router_with(1);
    gotoni_server server = { .struct_size = sizeof server, .id = 9 };
    gotoni_server_info info = { .struct_size = sizeof info };
    STATUS(gotoni_server_update(router, &server, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_server_mark(router, 9, GOTONI_SERVER_DOWN, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_server_remove(router, 9, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_server_get(router, 9, 0, &info), GOTONI_E_UNKNOWN_SERVER);
    end(router);
}

static void an_older_callers_server_gets_defaults_for_the_rest(void) {
    gotoni_router *router = router_with(0);
    gotoni_server server;
    memset(&server, 0xFF, sizeof server);
    server.struct_size = offsetof(gotoni_server, kv_capacity_tokens);
    server.id = 1;
    OK(gotoni_server_add(router, &server, 0));
    EQUAL(info_of(router, 1, 0).kv_capacity_tokens, 524288);
    end(router);
}

static void a_newer_callers_structs_are_accepted_and_their_ends_left_alone(void) {
    struct { gotoni_server known; unsigned char newer[24]; } server;
    struct { gotoni_server_info known; unsigned char newer[24]; } info;
    memset(&server, CANARY, sizeof server);
    memset(&info, CANARY, sizeof info);
    server.known = (gotoni_server){ .struct_size = sizeof server, .id = 5 };
    info.known.struct_size = sizeof info;
    gotoni_router *router = router_with(0);
    OK(gotoni_server_add(router, &server.known, 0));
    OK(gotoni_server_update(router, &server.known, 0));
    OK(gotoni_server_get(router, 5, 0, &info.known));
    EQUAL(info.known.id, 5);
    EQUAL(info.known.kv_blocks_orphaned, 0);
    CHECK(untouched(server.newer, sizeof server.newer));
    CHECK(untouched(info.newer, sizeof info.newer));
    end(router);
}

static void an_older_callers_info_is_not_written_beyond_its_end(void) {
    const size_t known = offsetof(gotoni_server_info, held_tokens);
    gotoni_server_info info;
    memset(&info, CANARY, sizeof info);
    info.struct_size = (uint32_t)known;
    gotoni_router *router = router_with(1);
    OK(gotoni_server_get(router, 1, 0, &info));
    EQUAL(info.struct_size, known);
    EQUAL(info.id, 1);
    CHECK(untouched((char *)&info + known, sizeof info - known));
    end(router);
}

static void all_servers_are_listed(void) {
    gotoni_router *router = router_with(3);
    uint64_t ids[5] = { 0 };
    size_t count = 0;
    OK(gotoni_server_list(router, ids, 5, &count));
    EQUAL(count, 3);
    EQUAL(ids[0] + ids[1] + ids[2], 1 + 2 + 3);
    CHECK(ids[0] != ids[1] && ids[1] != ids[2] && ids[0] != ids[2]);
    end(router);
}

static void a_list_that_does_not_fit_writes_nothing_and_says_the_size(void) {
    gotoni_router *router = router_with(3);
    uint64_t ids[3];
    memset(ids, CANARY, sizeof ids);
    size_t count = 99;
    STATUS(gotoni_server_list(router, ids, 2, &count), GOTONI_E_BUFFER);
    EQUAL(count, 3);
    CHECK(untouched(ids, sizeof ids));
    count = 99;
    STATUS(gotoni_server_list(router, NULL, 0, &count), GOTONI_E_BUFFER);
    EQUAL(count, 3);
    OK(gotoni_server_list(router, ids, 3, &count));
    end(router);
}

static void a_list_of_no_servers_fits_in_nothing(void) {
    gotoni_router *router = router_with(0);
    size_t count = 99;
    OK(gotoni_server_list(router, NULL, 0, &count));
    EQUAL(count, 0);
    end(router);
}

static void a_draining_server_keeps_its_prefixes_and_takes_nothing_new(void) {
    gotoni_router *router = router_with(2);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    OK(gotoni_server_mark(router, 1, GOTONI_SERVER_DRAINING, 0));
    EQUAL(info_of(router, 1, 0).state, GOTONI_SERVER_DRAINING);
    EQUAL(route(router, tokens, 64, 0).server, 2);
    EQUAL(matched(router, tokens, 64, 1), 64);
    OK(gotoni_server_mark(router, 1, GOTONI_SERVER_UP, 0));
    EQUAL(route(router, tokens, 64, 0).server, 1);
    end(router);
}

static void a_server_that_is_down_takes_nothing_and_forgets_its_prefixes(void) {
    gotoni_router *router = router_with(2);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    OK(gotoni_server_mark(router, 1, GOTONI_SERVER_DOWN, 0));
    EQUAL(info_of(router, 1, 0).state, GOTONI_SERVER_DOWN);
    EQUAL(info_of(router, 1, 0).held_tokens, 0);
    EQUAL(matched(router, tokens, 64, 1), 0);
    EQUAL(route(router, tokens, 64, 0).server, 2);
    end(router);
}

static void open_tickets_keep_counting_in_every_state(void) {
    const uint32_t states[] = { GOTONI_SERVER_DRAINING, GOTONI_SERVER_DOWN, GOTONI_SERVER_UP };
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    uint64_t ticket = route(router, tokens, 64, 0).ticket;
    for (size_t i = 0; i < 3; i += 1) {
        OK(gotoni_server_mark(router, 1, states[i], 0));
        EQUAL(info_of(router, 1, 0).queued_requests, 1);
        EQUAL(info_of(router, 1, 0).queued_tokens, 64);
        EQUAL(info_of(router, 1, 0).owed_tokens, 64);
    }
    OK(gotoni_commit(router, ticket, 0));
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 0));
    EQUAL(info_of(router, 1, 0).queued_requests, 0);
    end(router);
}

static void a_server_takes_at_most_max_requests_at_one_time(void) {
    gotoni_router *router = router_with(0);
    OK(add(router, 1, 2, 0));
    uint32_t token = 1;
    gotoni_request request = request_of(&token, 1);
    gotoni_decision decision = { .struct_size = sizeof decision };
    uint64_t first = route(router, &token, 1, 0).ticket;
    OK(gotoni_first_token(router, first, 0));
    route(router, &token, 1, 0);
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_SATURATED);
    OK(gotoni_finish(router, first, GOTONI_FINISH_FAILED, 0));
    OK(gotoni_route(router, &request, 0, &decision));
    end(router);
}

static void extreme_cache_sizes_are_taken(void) {
    const uint64_t sizes[] = { 1, INT64_MAX, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX };
    const uint32_t blocks[] = { 1, 16, 1024 };
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    for (size_t block = 0; block < 3; block += 1) {
        gotoni_config config = { .struct_size = sizeof config, .block_tokens = blocks[block] };
        gotoni_router *router = NULL;
        OK(gotoni_router_create(&config, &router));
        for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i += 1) {
            OK(add(router, i, 0, sizes[i]));
            insert(router, i, tokens, 64);
            CHECK(info_of(router, i, 0).held_tokens <= sizes[i]);
        }
        CHECK(info_of(router, 4, 0).kv_capacity_tokens == UINT64_MAX); /* no bound of its own */
        end(router);
    }
}

static void an_update_replaces_the_limits(void) {
    gotoni_router *router = router_with(0);
    OK(add(router, 1, 2, 1000));
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .max_requests = 9, .kv_capacity_tokens = 500 };
    OK(gotoni_server_update(router, &server, 0));
    EQUAL(info_of(router, 1, 0).max_requests, 9);
    EQUAL(info_of(router, 1, 0).kv_capacity_tokens, 500);
    server.max_requests = 0;
    server.kv_capacity_tokens = 0;
    OK(gotoni_server_update(router, &server, 0));
    EQUAL(info_of(router, 1, 0).max_requests, 0);
    EQUAL(info_of(router, 1, 0).kv_capacity_tokens, 524288);
    end(router);
}

static void a_smaller_cache_evicts_at_once_the_least_recently_used_first(void) {
    gotoni_router *router = router_with(1);
    uint32_t older[64], newer[64];
    fill(older, 64, 0);
    fill(newer, 64, 1000);
    insert(router, 1, older, 64);
    insert(router, 1, newer, 64);
    EQUAL(info_of(router, 1, 0).held_tokens, 128);
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .kv_capacity_tokens = 64 };
    OK(gotoni_server_update(router, &server, 0));
    EQUAL(info_of(router, 1, 0).held_tokens, 64);
    EQUAL(matched(router, older, 64, 1), 0);
    EQUAL(matched(router, newer, 64, 1), 64);
    EQUAL(stats_of(router).evicted_tokens_capacity, 64);
    end(router);
}

static void a_removed_server_takes_its_prefixes_and_tickets_with_it(void) {
    gotoni_router *router = router_with(2);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    gotoni_decision decision = route(router, tokens, 64, 0);
    EQUAL(decision.server, 1);
    OK(gotoni_server_remove(router, 1, 0));
    EQUAL(server_count(router), 1);
    EQUAL(matched(router, tokens, 64, 1), 0);
    EQUAL(stats_of(router).orphaned, 1);
    EQUAL(stats_of(router).open_tickets, 0);
    STATUS(gotoni_commit(router, decision.ticket, 0), GOTONI_E_TICKET_ENDED);
    STATUS(gotoni_first_token(router, decision.ticket, 0), GOTONI_E_TICKET_ENDED);
    OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, 0));
    EQUAL(route(router, tokens, 64, 0).server, 2);
    STATUS(gotoni_server_remove(router, 1, 0), GOTONI_E_UNKNOWN_SERVER);
    end(router);
}

static void an_id_used_again_starts_clean(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    uint64_t ticket = route(router, tokens, 64, 0).ticket;
    gotoni_metrics metrics = { .struct_size = sizeof metrics, .known = GOTONI_METRIC_QUEUED_REQUESTS };
    OK(gotoni_observe_metrics(router, 1, &metrics, 0));
    OK(gotoni_observe_rtt(router, 1, 5, 0));
    OK(gotoni_server_mark(router, 1, GOTONI_SERVER_DRAINING, 0));
    OK(gotoni_server_remove(router, 1, 0));
    OK(add(router, 1, 0, 0));
    gotoni_server_info info = info_of(router, 1, 0);
    EQUAL(info.state, GOTONI_SERVER_UP);
    EQUAL(info.rtt_ns, -1);
    EQUAL(info.metrics_known, 0);
    EQUAL(info.held_tokens, 0);
    EQUAL(info.queued_requests, 0);
    EQUAL(matched(router, tokens, 64, 1), 0);
    /* The old ticket belongs to the server that is gone, not to its namesake. */
    OK(gotoni_finish(router, ticket, GOTONI_FINISH_OK, 0));
    EQUAL(matched(router, tokens, 64, 1), 0);
    end(router);
}

static void a_list_checks_its_array_and_takes_any_capacity(void) {
    gotoni_router *router = router_with(1);
    uint64_t room[2] = { 0, 0 };
    size_t count = 9;
    uint64_t *misaligned = (uint64_t *)(void *)((char *)room + 1);
    STATUS(gotoni_server_list(router, misaligned, 1, &count), GOTONI_E_ARGUMENT);
    EQUAL(room[0], 0);
    OK(gotoni_server_list(router, room, SIZE_MAX, &count));
    EQUAL(count, 1);
    EQUAL(room[0], 1);
    end(router);
}

int main(void) {
    TEST(a_new_server_is_up_empty_and_far_as_unknown);
    TEST(any_number_is_a_fine_id);
    TEST(an_unset_cache_size_is_the_configured_default);
    TEST(an_id_can_be_added_only_once);
    TEST(wrong_arguments_are_refused);
    TEST(an_unknown_server_is_named_as_such);
    TEST(an_older_callers_server_gets_defaults_for_the_rest);
    TEST(a_newer_callers_structs_are_accepted_and_their_ends_left_alone);
    TEST(an_older_callers_info_is_not_written_beyond_its_end);
    TEST(all_servers_are_listed);
    TEST(a_list_that_does_not_fit_writes_nothing_and_says_the_size);
    TEST(a_list_of_no_servers_fits_in_nothing);
    TEST(a_draining_server_keeps_its_prefixes_and_takes_nothing_new);
    TEST(a_server_that_is_down_takes_nothing_and_forgets_its_prefixes);
    TEST(open_tickets_keep_counting_in_every_state);
    TEST(a_server_takes_at_most_max_requests_at_one_time);
    TEST(extreme_cache_sizes_are_taken);
    TEST(an_update_replaces_the_limits);
    TEST(a_smaller_cache_evicts_at_once_the_least_recently_used_first);
    TEST(a_removed_server_takes_its_prefixes_and_tickets_with_it);
    TEST(an_id_used_again_starts_clean);
    TEST(a_list_checks_its_array_and_takes_any_capacity);
    return check_result();
}
