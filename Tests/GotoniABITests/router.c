/* Tests of the header's section "Router". */
#define _POSIX_C_SOURCE 200809L /* setrlimit */
#include "check.h"
#include <stddef.h>
#include <sys/resource.h>

static gotoni_config config_with_size(size_t struct_size) {
    gotoni_config config;
    memset(&config, 0, sizeof config);
    config.struct_size = (uint32_t)struct_size;
    return config;
}

/* Tries a configuration; *out must be set on success and cleared on failure. */
static gotoni_status try_config(const gotoni_config *config) {
    gotoni_router *const before = (gotoni_router *)&check_failures; /* anything but NULL */
    gotoni_router *router = before;
    gotoni_status status = gotoni_router_create(config, &router);
    CHECK(router != before);
    CHECK((status == GOTONI_OK) == (router != NULL));
    if (status == GOTONI_OK) end(router);
    return status;
}

static void no_configuration_means_all_defaults(void) {
    OK(try_config(NULL));
    gotoni_router *router = router_with(0);
    EQUAL(stats_of(router).budget_bytes, 256 << 20);
    end(router);
}

static void a_configuration_of_zeros_means_all_defaults(void) {
    gotoni_config config = config_with_size(sizeof config);
    OK(try_config(&config));
}

static void without_a_place_for_the_router_nothing_is_made(void) {
    STATUS(gotoni_router_create(NULL, NULL), GOTONI_E_ARGUMENT);
}

static void a_configuration_without_its_size_is_refused(void) {
    for (size_t size = 0; size < sizeof(uint32_t); size += 1) {
        gotoni_config config = config_with_size(size);
        STATUS(try_config(&config), GOTONI_E_ARGUMENT);
    }
}

static void an_older_callers_configuration_is_read_only_so_far(void) {
    /* A program built when gotoni_config ended behind `seed`: what lies behind is not its configuration. */
    gotoni_config config;
    memset(&config, 0xFF, sizeof config);
    config.struct_size = offsetof(gotoni_config, memory_budget_bytes);
    config.block_tokens = 32;
    OK(try_config(&config));

    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server, .id = 1 };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t tokens[63];
    fill(tokens, 63, 0);
    insert(router, 1, tokens, 63);
    EQUAL(matched(router, tokens, 63, 1), 32); /* block_tokens was read ... */
    EQUAL(stats_of(router).budget_bytes, 256 << 20); /* ... and the budget was not */
    end(router);
}

static void a_newer_callers_configuration_is_accepted_and_left_alone(void) {
    struct { gotoni_config known; unsigned char newer[40]; } config;
    memset(&config, CANARY, sizeof config);
    config.known = config_with_size(sizeof config);
    OK(try_config(&config.known));
    CHECK(untouched(config.newer, sizeof config.newer));
}

static void every_bound_of_the_configuration_is_kept(void) {
    gotoni_config config = config_with_size(sizeof config);
#define BOUND(field, fine, refused)                                    \
    do {                                                               \
        config.field = (fine);                                         \
        OK(try_config(&config));                                       \
        config.field = (refused);                                      \
        STATUS(try_config(&config), GOTONI_E_RANGE);                   \
        config.field = 0;                                              \
    } while (0)
    BOUND(block_tokens, 1, 1025);
    BOUND(block_tokens, 1024, UINT32_MAX);
    BOUND(memory_budget_bytes, UINT64_C(64) << 10, (UINT64_C(64) << 10) - 1);
    BOUND(memory_budget_bytes, UINT64_C(1) << 20, (UINT64_C(32) << 30) + 1);
    BOUND(memory_budget_bytes, UINT64_C(1) << 20, UINT64_MAX);
    BOUND(max_prompt_tokens, 1, (UINT64_C(1) << 30) + 1);
    BOUND(max_prompt_tokens, UINT64_C(1) << 30, UINT64_MAX);
    BOUND(max_servers, 1, 65536);
    BOUND(max_servers, 65535, UINT32_MAX);
    BOUND(max_tickets, 1, 16777217);
    BOUND(max_tickets, 16777216, UINT32_MAX);
#undef BOUND
    config.memory_budget_bytes = UINT64_C(32) << 30;
    gotoni_status status = try_config(&config); /* within the bounds, though this machine may be too small */
    CHECK(status == GOTONI_OK || status == GOTONI_E_MEMORY);
    config.memory_budget_bytes = 0;
    config.seed = UINT64_MAX;
    config.default_kv_capacity_tokens = UINT64_MAX;
    OK(try_config(&config));
}

static void too_little_address_space_is_an_error_not_a_crash(void) {
    struct rlimit old, small;
    CHECK(getrlimit(RLIMIT_AS, &old) == 0);
    small = old;
    small.rlim_cur = (rlim_t)1 << 30;
    CHECK(setrlimit(RLIMIT_AS, &small) == 0);
    gotoni_config config = config_with_size(sizeof config);
    config.memory_budget_bytes = UINT64_C(32) << 30;
    STATUS(try_config(&config), GOTONI_E_MEMORY);
    CHECK(setrlimit(RLIMIT_AS, &old) == 0);
}

static void destroying_no_router_is_allowed(void) {
    gotoni_router_destroy(NULL);
}

static void destroying_a_router_with_open_tickets_is_allowed(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    OK(gotoni_commit(router, route(router, tokens, 64, 1).ticket, 2));
    route(router, tokens, 64, 3);
    end(router);
}

static void checking_needs_a_router(void) {
    STATUS(gotoni_router_check(NULL), GOTONI_E_ARGUMENT);
}

static void routers_share_nothing(void) {
    gotoni_router *one = router_with(1), *other = router_with(2);
    uint32_t tokens[32];
    fill(tokens, 32, 0);
    insert(one, 1, tokens, 32);
    EQUAL(matched(one, tokens, 32, 1), 32);
    EQUAL(matched(other, tokens, 32, 1), 0);
    end(one);
    end(other);
}

static void the_memory_budget_is_never_passed(void) {
    gotoni_config config = config_with_size(sizeof config);
    config.memory_budget_bytes = 64 << 10;
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .kv_capacity_tokens = UINT64_MAX };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t tokens[640];
    for (uint32_t i = 0; i < 3000; i += 1) {
        fill(tokens, 640, i * 1000);
        gotoni_request request = request_of(tokens, 640);
        gotoni_decision decision = { .struct_size = sizeof decision };
        gotoni_status status = gotoni_route(router, &request, i, &decision);
        CHECK(status == GOTONI_OK || status == GOTONI_E_CAPACITY);
        if (status == GOTONI_OK) OK(gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, i));
        gotoni_stats stats = stats_of(router);
        CHECK(stats.bytes <= stats.budget_bytes);
    }
    EQUAL(matched(router, tokens, 640, 1), 640); /* the newest is there, the oldest made room */
    CHECK(stats_of(router).evicted_tokens_budget > 0);
    end(router);
}

static void no_more_servers_than_max_servers_are_taken(void) {
    gotoni_config config = config_with_size(sizeof config);
    config.max_servers = 2;
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server };
    for (server.id = 1; server.id <= 2; server.id += 1) OK(gotoni_server_add(router, &server, 0));
    STATUS(gotoni_server_add(router, &server, 0), GOTONI_E_CAPACITY);
    OK(gotoni_server_remove(router, 1, 0));
    OK(gotoni_server_add(router, &server, 0));
    end(router);
}

static void no_more_tickets_than_max_tickets_are_open(void) {
    gotoni_config config = config_with_size(sizeof config);
    config.max_tickets = 2;
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server, .id = 1 };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t token = 7;
    gotoni_request request = request_of(&token, 1);
    uint64_t first = route(router, &token, 1, 0).ticket;
    route(router, &token, 1, 0);
    gotoni_decision decision = { .struct_size = sizeof decision };
    STATUS(gotoni_route(router, &request, 0, &decision), GOTONI_E_CAPACITY);
    OK(gotoni_finish(router, first, GOTONI_FINISH_OK, 0));
    route(router, &token, 1, 0);
    end(router);
}

int main(void) {
    TEST(no_configuration_means_all_defaults);
    TEST(a_configuration_of_zeros_means_all_defaults);
    TEST(without_a_place_for_the_router_nothing_is_made);
    TEST(a_configuration_without_its_size_is_refused);
    TEST(an_older_callers_configuration_is_read_only_so_far);
    TEST(a_newer_callers_configuration_is_accepted_and_left_alone);
    TEST(every_bound_of_the_configuration_is_kept);
    TEST(too_little_address_space_is_an_error_not_a_crash);
    TEST(destroying_no_router_is_allowed);
    TEST(destroying_a_router_with_open_tickets_is_allowed);
    TEST(checking_needs_a_router);
    TEST(routers_share_nothing);
    TEST(the_memory_budget_is_never_passed);
    TEST(no_more_servers_than_max_servers_are_taken);
    TEST(no_more_tickets_than_max_tickets_are_open);
    return check_result();
}
