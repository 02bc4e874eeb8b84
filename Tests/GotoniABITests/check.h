/* All of the test framework, and the few steps that most tests share.
 *
 * A test is a function whose name states a property; TEST(name) runs it and prints one line. A failed CHECK
 * prints where and what, and the test goes on, so that one run shows everything that is wrong. */
#ifndef CHECK_H
#define CHECK_H

#include <gotoni.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int check_failures;      /* in the running test */
static int check_failed_tests;  /* in this program */

/* The condition holds. */
#define CHECK(condition) ((condition) ? (void)0 : check_fail(__FILE__, __LINE__, #condition))

/* Two whole numbers are equal. Both are shown if not. */
#define EQUAL(got, expected) \
    check_equal(__FILE__, __LINE__, #got " == " #expected, (int64_t)(got), (int64_t)(expected))

/* A call returns this status. */
#define STATUS(call, expected) check_equal(__FILE__, __LINE__, #call " gives " #expected, (call), (expected))
#define OK(call) STATUS(call, GOTONI_OK)

/* Runs one test. */
#define TEST(function) check_run(#function, function)

static inline void check_fail(const char *file, int line, const char *text) {
    check_failures += 1;
    printf("     %s:%d: %s\n", file, line, text);
}

static inline void check_equal(const char *file, int line, const char *text, int64_t got, int64_t expected) {
    if (got == expected) return;
    check_fail(file, line, text);
    printf("     %*s got %" PRId64 ", expected %" PRId64 "\n", (int)strlen(file), "", got, expected);
}

static inline void check_run(const char *name, void (*function)(void)) {
    check_failures = 0;
    function();
    printf(check_failures == 0 ? "ok   " : "FAIL ");
    for (; *name != '\0'; name += 1) putchar(*name == '_' ? ' ' : *name);
    putchar('\n');
    fflush(stdout);
    if (check_failures > 0) check_failed_tests += 1;
}

static inline int check_result(void) { return check_failed_tests == 0 ? 0 : 1; }

/* ----- Steps most tests share ------------------------------------------------------------------------ */

#define MILLISECOND UINT64_C(1000000)
#define SECOND (1000 * MILLISECOND)

/* A router with 16-token blocks and the servers 1 ... `servers`. */
static inline gotoni_router *router_with(unsigned servers) {
    gotoni_router *router = NULL;
    OK(gotoni_router_create(NULL, &router));
    for (unsigned id = 1; id <= servers; id += 1) {
        gotoni_server server = { .struct_size = sizeof server, .id = id };
        OK(gotoni_server_add(router, &server, 0));
    }
    return router;
}

/* Ends a router after a last look at its invariants. */
static inline void end(gotoni_router *router) {
    OK(gotoni_router_check(router));
    gotoni_router_destroy(router);
}

/* Fills tokens with first, first + 1 ... so that prompts with different `first` share no block. */
static inline void fill(uint32_t *tokens, size_t count, uint32_t first) {
    for (size_t i = 0; i < count; i += 1) tokens[i] = first + (uint32_t)i;
}

static inline gotoni_request request_of(const uint32_t *tokens, size_t count) {
    gotoni_request request = { .struct_size = sizeof request, .tokens = tokens, .token_count = count };
    return request;
}

/* Routes a prompt that must find a server. */
static inline gotoni_decision route(gotoni_router *router, const uint32_t *tokens, size_t count, uint64_t now_ns) {
    gotoni_request request = request_of(tokens, count);
    gotoni_decision decision = { .struct_size = sizeof decision };
    OK(gotoni_route(router, &request, now_ns, &decision));
    return decision;
}

/* Notes that a server holds a prompt. */
static inline void insert(gotoni_router *router, uint64_t id, const uint32_t *tokens, size_t count) {
    gotoni_request request = request_of(tokens, count);
    OK(gotoni_prefix_insert(router, id, &request, 0));
}

/* How many tokens of this prompt a server is believed to hold. */
static inline uint64_t matched_in(gotoni_router *router, uint64_t namespace_key, const uint32_t *tokens,
                                  size_t count, uint64_t id) {
    enum { MOST = 64 };
    gotoni_request request = request_of(tokens, count);
    request.namespace_key = namespace_key;
    uint64_t servers[MOST], matched[MOST];
    size_t found = 0;
    OK(gotoni_match(router, &request, servers, matched, MOST, &found));
    for (size_t i = 0; i < found && i < MOST; i += 1)
        if (servers[i] == id) return matched[i];
    return 0;
}

static inline uint64_t matched(gotoni_router *router, const uint32_t *tokens, size_t count, uint64_t id) {
    return matched_in(router, 0, tokens, count, id);
}

static inline gotoni_server_info info_of(gotoni_router *router, uint64_t id, uint64_t now_ns) {
    gotoni_server_info info = { .struct_size = sizeof info };
    OK(gotoni_server_get(router, id, now_ns, &info));
    return info;
}

static inline gotoni_stats stats_of(gotoni_router *router) {
    gotoni_stats stats = { .struct_size = sizeof stats };
    OK(gotoni_stats_get(router, &stats));
    return stats;
}

/* Whether `size` bytes still hold the value that the test filled them with. */
#define CANARY 0xA5
static inline int untouched(const void *bytes, size_t size) {
    const unsigned char *byte = bytes;
    for (size_t i = 0; i < size; i += 1)
        if (byte[i] != CANARY) return 0;
    return 1;
}

#endif
