/* Tests of the header's section "Prefix trie". */
#include "check.h"
#include <stddef.h>

static void a_prompt_matches_in_whole_blocks(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 50);
    EQUAL(matched(router, tokens, 64, 1), 48);
    EQUAL(matched(router, tokens, 50, 1), 48);
    EQUAL(matched(router, tokens, 47, 1), 32);
    EQUAL(matched(router, tokens, 15, 1), 0);
    tokens[20] = 9999;
    EQUAL(matched(router, tokens, 64, 1), 16);
    tokens[0] = 9999;
    EQUAL(matched(router, tokens, 64, 1), 0);
    end(router);
}

static void blocks_of_one_token_match_exactly(void) {
    gotoni_config config = { .struct_size = sizeof config, .block_tokens = 1 };
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server, .id = 1 };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 50);
    for (size_t count = 0; count <= 64; count += 1)
        EQUAL(matched(router, tokens, count, 1), count < 50 ? count : 50);
    end(router);
}

static void a_prompt_behind_a_shared_system_prompt_matches_that_much(void) {
    /* Two users behind one system prompt are cached on server 1; a third one comes. */
    enum { SYSTEM = 320, USER = 80 };
    gotoni_router *router = router_with(2);
    uint32_t prompts[3][SYSTEM + USER];
    for (uint32_t user = 0; user < 3; user += 1) {
        fill(prompts[user], SYSTEM, 0);
        fill(prompts[user] + SYSTEM, USER, 10000 * (user + 1));
    }
    insert(router, 1, prompts[0], SYSTEM + USER);
    insert(router, 1, prompts[1], SYSTEM + USER);
    EQUAL(matched(router, prompts[2], SYSTEM + USER, 1), SYSTEM);
    gotoni_decision decision = route(router, prompts[2], SYSTEM + USER, 0);
    EQUAL(decision.server, 1);
    EQUAL(decision.matched_tokens, SYSTEM);
    EQUAL(matched(router, prompts[0], SYSTEM + USER, 1), SYSTEM + USER); /* the split lost nothing */
    EQUAL(matched(router, prompts[1], SYSTEM + USER, 1), SYSTEM + USER);
    EQUAL(info_of(router, 1, 0).held_tokens, SYSTEM + 2 * USER);
    end(router);
}

static void namespaces_never_share(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    const uint64_t tenant = gotoni_namespace_key("model", 5, NULL, 0, "tenant", 6);
    gotoni_request request = request_of(tokens, 64);
    request.namespace_key = tenant;
    OK(gotoni_prefix_insert(router, 1, &request, 0));
    EQUAL(matched_in(router, tenant, tokens, 64, 1), 64);
    EQUAL(matched_in(router, tenant + 1, tokens, 64, 1), 0);
    EQUAL(matched(router, tokens, 64, 1), 0);
    insert(router, 1, tokens, 32);
    EQUAL(matched(router, tokens, 64, 1), 32);
    EQUAL(matched_in(router, tenant, tokens, 64, 1), 64);
    end(router);
}

static void matches_come_longest_first_and_equal_ones_by_id(void) {
    gotoni_router *router = router_with(5);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 4, tokens, 32);
    insert(router, 5, tokens, 64);
    insert(router, 2, tokens, 32);
    insert(router, 3, tokens, 16);
    gotoni_request request = request_of(tokens, 64);
    uint64_t servers[4], lengths[4];
    size_t count = 0;
    OK(gotoni_match(router, &request, servers, lengths, 4, &count));
    EQUAL(count, 4);
    const uint64_t expected_servers[] = { 5, 2, 4, 3 }, expected_lengths[] = { 64, 32, 32, 16 };
    for (size_t i = 0; i < 4; i += 1) {
        EQUAL(servers[i], expected_servers[i]);
        EQUAL(lengths[i], expected_lengths[i]);
    }
    end(router);
}

static void matches_that_do_not_fit_write_nothing_and_say_the_size(void) {
    gotoni_router *router = router_with(3);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    for (uint64_t id = 1; id <= 3; id += 1) insert(router, id, tokens, 64);
    gotoni_request request = request_of(tokens, 64);
    uint64_t servers[2], lengths[2];
    memset(servers, CANARY, sizeof servers);
    memset(lengths, CANARY, sizeof lengths);
    size_t count = 0;
    STATUS(gotoni_match(router, &request, servers, lengths, 2, &count), GOTONI_E_BUFFER);
    EQUAL(count, 3);
    CHECK(untouched(servers, sizeof servers) && untouched(lengths, sizeof lengths));
    count = 0;
    STATUS(gotoni_match(router, &request, NULL, NULL, 0, &count), GOTONI_E_BUFFER);
    EQUAL(count, 3);
    request = request_of(tokens, 15);
    OK(gotoni_match(router, &request, NULL, NULL, 0, &count));
    EQUAL(count, 0);
    end(router);
}

static void matching_changes_nothing(void) {
    /* Were a match a use, `older` would survive the eviction. */
    gotoni_router *router = router_with(1);
    uint32_t older[64], newer[64];
    fill(older, 64, 0);
    fill(newer, 64, 1000);
    insert(router, 1, older, 64);
    insert(router, 1, newer, 64);
    EQUAL(matched(router, older, 64, 1), 64);
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .kv_capacity_tokens = 64 };
    OK(gotoni_server_update(router, &server, 0));
    EQUAL(matched(router, older, 64, 1), 0);
    EQUAL(matched(router, newer, 64, 1), 64);
    end(router);
}

static void a_full_server_forgets_its_least_recently_used_prefix(void) {
    gotoni_router *router = router_with(0);
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .kv_capacity_tokens = 128 };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t prompts[3][64];
    for (uint32_t i = 0; i < 3; i += 1) fill(prompts[i], 64, i * 1000);
    insert(router, 1, prompts[0], 64);
    insert(router, 1, prompts[1], 64);
    insert(router, 1, prompts[0], 64); /* used again, so prompt 1 is the oldest */
    insert(router, 1, prompts[2], 64);
    EQUAL(matched(router, prompts[0], 64, 1), 64);
    EQUAL(matched(router, prompts[1], 64, 1), 0);
    EQUAL(matched(router, prompts[2], 64, 1), 64);
    CHECK(info_of(router, 1, 0).held_tokens <= 128);
    end(router);
}

static void eviction_takes_ends_before_the_beginnings_they_stand_on(void) {
    gotoni_router *router = router_with(0);
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .kv_capacity_tokens = 128 };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t first[96], second[96]; /* 64 tokens shared, 32 of their own each */
    fill(first, 96, 0);
    fill(second, 64, 0);
    fill(second + 64, 32, 1000);
    insert(router, 1, first, 96);
    insert(router, 1, second, 96);
    uint32_t third[32];
    fill(third, 32, 2000);
    insert(router, 1, third, 32);
    EQUAL(matched(router, first, 96, 1), 64);
    EQUAL(matched(router, second, 96, 1), 96);
    EQUAL(matched(router, third, 32, 1), 32);
    end(router);
}

static void a_removal_keeps_the_beginning_it_is_told_to_keep(void) {
    const struct { uint64_t keep, left; } cases[] = { { 48, 48 }, { 47, 32 }, { 16, 16 }, { 15, 0 }, { 0, 0 } };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i += 1) {
        gotoni_router *router = router_with(2);
        uint32_t tokens[96];
        fill(tokens, 96, 0);
        insert(router, 1, tokens, 96); /* continues the removed prompt, so it goes as well */
        insert(router, 2, tokens, 96);
        gotoni_request request = request_of(tokens, 64);
        OK(gotoni_prefix_remove(router, 1, &request, cases[i].keep, 0));
        EQUAL(matched(router, tokens, 96, 1), cases[i].left);
        EQUAL(matched(router, tokens, 96, 2), 96);
        end(router);
    }
}

static void removing_what_is_not_held_changes_nothing(void) {
    gotoni_router *router = router_with(1);
    uint32_t held[64], other[64];
    fill(held, 64, 0);
    fill(other, 64, 1000);
    insert(router, 1, held, 64);
    gotoni_request request = request_of(other, 64);
    OK(gotoni_prefix_remove(router, 1, &request, 0, 0));
    EQUAL(matched(router, held, 64, 1), 64);
    end(router);
}

static void clearing_one_server_leaves_the_others(void) {
    gotoni_router *router = router_with(2);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    insert(router, 1, tokens, 64);
    insert(router, 2, tokens, 64);
    OK(gotoni_prefix_clear_server(router, 1, 0));
    EQUAL(matched(router, tokens, 64, 1), 0);
    EQUAL(matched(router, tokens, 64, 2), 64);
    EQUAL(info_of(router, 1, 0).held_tokens, 0);
    OK(gotoni_prefix_clear(router, 0));
    EQUAL(matched(router, tokens, 64, 2), 0);
    insert(router, 1, tokens, 64);
    EQUAL(matched(router, tokens, 64, 1), 64);
    end(router);
}

static void a_prompt_beyond_the_budget_keeps_a_beginning_and_says_so(void) {
    enum { COUNT = 1 << 20 };
    gotoni_config config = { .struct_size = sizeof config, .memory_budget_bytes = 64 << 10 };
    gotoni_router *router = NULL;
    OK(gotoni_router_create(&config, &router));
    gotoni_server server = { .struct_size = sizeof server, .id = 1, .kv_capacity_tokens = UINT64_MAX };
    OK(gotoni_server_add(router, &server, 0));
    uint32_t *tokens = malloc(COUNT * sizeof *tokens);
    fill(tokens, COUNT, 0);
    gotoni_request request = request_of(tokens, COUNT);
    STATUS(gotoni_prefix_insert(router, 1, &request, 0), GOTONI_E_CAPACITY);
    CHECK(matched(router, tokens, COUNT, 1) < COUNT);
    CHECK(stats_of(router).bytes <= stats_of(router).budget_bytes);
    EQUAL(stats_of(router).truncated_inserts, 1);
    free(tokens);
    end(router);
}

static void the_shape_of_an_empty_trie_is_its_root(void) {
    gotoni_router *router = router_with(1);
    gotoni_prefix_stats stats = { .struct_size = sizeof stats };
    OK(gotoni_prefix_stats_get(router, &stats));
    EQUAL(stats.nodes, 1);
    EQUAL(stats.leaves, 1);
    EQUAL(stats.max_depth, 0);
    CHECK(stats.avg_depth == 0 && stats.avg_branching == 0 && stats.avg_prefix_length == 0);
    EQUAL(stats.total_server_refs, 0);
    EQUAL(stats.unique_servers, 0);
    EQUAL(stats.held_tokens, 0);
    EQUAL(stats.budget_bytes, 256 << 20);
    end(router);
}

static void the_shape_of_a_small_trie_is_as_drawn_by_hand(void) {
    /*  root --- a (32 tokens; servers 1, 2) --- b (16; server 1)
     *                                       \-- c (48; server 2)      */
    gotoni_router *router = router_with(3);
    uint32_t to_b[48], to_c[80];
    fill(to_b, 48, 0);
    fill(to_c, 32, 0);
    fill(to_c + 32, 48, 1000);
    insert(router, 1, to_b, 48);
    insert(router, 2, to_c, 80);
    gotoni_prefix_stats stats = { .struct_size = sizeof stats };
    OK(gotoni_prefix_stats_get(router, &stats));
    EQUAL(stats.nodes, 4);
    EQUAL(stats.leaves, 2);
    EQUAL(stats.max_depth, 80);
    CHECK(stats.avg_depth == (48.0 + 80.0) / 2);
    CHECK(stats.avg_branching == (1.0 + 2.0) / 2);
    CHECK(stats.avg_prefix_length == (0.0 + 32.0 + 16.0 + 48.0) / 4);
    EQUAL(stats.total_server_refs, 4);
    EQUAL(stats.unique_servers, 2);
    EQUAL(stats.held_tokens, 96);
    EQUAL(stats.bytes, stats_of(router).bytes);
    end(router);
}

static void shape_structs_of_other_versions_are_respected(void) {
    gotoni_router *router = router_with(1);
    struct { gotoni_prefix_stats known; unsigned char newer[24]; } stats;
    const size_t old = offsetof(gotoni_prefix_stats, max_depth);
    memset(&stats, CANARY, sizeof stats);
    stats.known.struct_size = (uint32_t)old;
    OK(gotoni_prefix_stats_get(router, &stats.known));
    EQUAL(stats.known.nodes, 1);
    CHECK(untouched((char *)&stats + old, sizeof stats - old));
    stats.known.struct_size = sizeof stats;
    OK(gotoni_prefix_stats_get(router, &stats.known));
    EQUAL(stats.known.budget_bytes, 256 << 20);
    CHECK(untouched(stats.newer, sizeof stats.newer));
    end(router);
}

static void wrong_arguments_are_refused(void) {
    gotoni_router *router = router_with(1);
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    gotoni_request request = request_of(tokens, 64), null_tokens = request_of(NULL, 64);
    gotoni_request sizeless = request_of(tokens, 64), too_long = request_of(tokens, SIZE_MAX);
    sizeless.struct_size = 0;
    gotoni_prefix_stats stats = { .struct_size = 0 };
    uint64_t servers[2], lengths[2];
    size_t count;
    insert(router, 1, tokens, 16);
    STATUS(gotoni_match(NULL, &request, servers, lengths, 2, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, NULL, servers, lengths, 2, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, &request, NULL, lengths, 2, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, &request, servers, NULL, 2, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, &request, servers, lengths, 2, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, &null_tokens, servers, lengths, 2, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, &sizeless, servers, lengths, 2, &count), GOTONI_E_ARGUMENT);
    STATUS(gotoni_match(router, &too_long, servers, lengths, 2, &count), GOTONI_E_RANGE);
    STATUS(gotoni_prefix_insert(NULL, 1, &request, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_insert(router, 1, NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_insert(router, 1, &null_tokens, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_insert(router, 1, &sizeless, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_insert(router, 1, &too_long, 0), GOTONI_E_RANGE);
    STATUS(gotoni_prefix_insert(router, 2, &request, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_prefix_remove(NULL, 1, &request, 0, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_remove(router, 1, NULL, 0, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_remove(router, 1, &null_tokens, 0, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_remove(router, 1, &sizeless, 0, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_remove(router, 1, &too_long, 0, 0), GOTONI_E_RANGE);
    STATUS(gotoni_prefix_remove(router, 2, &request, 0, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_prefix_clear_server(NULL, 1, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_clear_server(router, 2, 0), GOTONI_E_UNKNOWN_SERVER);
    STATUS(gotoni_prefix_clear(NULL, 0), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_stats_get(router, NULL), GOTONI_E_ARGUMENT);
    STATUS(gotoni_prefix_stats_get(router, &stats), GOTONI_E_ARGUMENT);
    stats.struct_size = sizeof stats;
    STATUS(gotoni_prefix_stats_get(NULL, &stats), GOTONI_E_ARGUMENT);
    EQUAL(matched(router, tokens, 64, 1), 16);
    end(router);
}

int main(void) {
    TEST(a_prompt_matches_in_whole_blocks);
    TEST(blocks_of_one_token_match_exactly);
    TEST(a_prompt_behind_a_shared_system_prompt_matches_that_much);
    TEST(namespaces_never_share);
    TEST(matches_come_longest_first_and_equal_ones_by_id);
    TEST(matches_that_do_not_fit_write_nothing_and_say_the_size);
    TEST(matching_changes_nothing);
    TEST(a_full_server_forgets_its_least_recently_used_prefix);
    TEST(eviction_takes_ends_before_the_beginnings_they_stand_on);
    TEST(a_removal_keeps_the_beginning_it_is_told_to_keep);
    TEST(removing_what_is_not_held_changes_nothing);
    TEST(clearing_one_server_leaves_the_others);
    TEST(a_prompt_beyond_the_budget_keeps_a_beginning_and_says_so);
    TEST(the_shape_of_an_empty_trie_is_its_root);
    TEST(the_shape_of_a_small_trie_is_as_drawn_by_hand);
    TEST(shape_structs_of_other_versions_are_respected);
    TEST(wrong_arguments_are_refused);
    return check_result();
}
