/* Feeds the C interface with hostile calls: the input is a program of calls, one byte for which, the rest for
 * the arguments. Wrong is what a caller can do wrong and the header answers with a status; memory described
 * wrongly is left out, as nobody can detect it. Arrays and structs are allocated to the byte, so that the
 * address sanitizer sees every access beyond them.
 *
 * Bounds that keep an input quick: MOST_CALLS calls, prompts of at most MOST_TOKENS tokens, one router of a
 * few megabytes. */
#define _DEFAULT_SOURCE
#include <gotoni.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_CALLS = 200, MOST_TOKENS = 700, MOST_ARRAY = 20, MOST_ALLOCATIONS = 16, LARGEST_STRUCT = 256,
       LARGEST_SNAPSHOT = 1 << 18 };

/* ----- The input, read front to back; zeros behind its end ------------------------------------------- */

static const uint8_t *input;
static size_t left;

static uint8_t byte(void) {
    if (left == 0) return 0;
    left -= 1;
    return *input++;
}

static uint64_t number(int size) {
    uint64_t value = 0;
    for (int i = 0; i < size; i += 1) value = value << 8 | byte();
    return value;
}

/* ----- Memory for one call ---------------------------------------------------------------------------- */

static void *allocations[MOST_ALLOCATIONS];
static size_t allocation_count;

/* `size` bytes and not one more, freed after the call. */
static void *exactly(size_t size) {
    if (allocation_count == MOST_ALLOCATIONS) abort();
    return allocations[allocation_count++] = calloc(1, size);
}

static void free_all(void) {
    while (allocation_count > 0) free(allocations[--allocation_count]);
}

/* ----- Arguments, mostly sensible and sometimes not ---------------------------------------------------- */

static int rarely(void) { return byte() < 12; }

/* A few server ids, so that calls meet. */
static uint64_t an_id(void) {
    uint8_t choice = byte();
    return choice < 250 ? choice % 7 : number(8);
}

static uint64_t now_ns;

/* Time creeps, jumps, or goes back. */
static uint64_t a_time(void) {
    uint8_t choice = byte();
    if (choice < 200) return now_ns += choice * UINT64_C(1000000);
    if (choice < 230) return now_ns += choice * UINT64_C(10000000000);
    if (choice < 250) return now_ns / 2;
    return number(8);
}

static double a_double(void) {
    static const double special[] = { 0, -0.0, 1, -1, 0.5, 1e-300, 1e300, 1000, 600000, NAN, INFINITY, -INFINITY };
    uint8_t choice = byte();
    if (choice < 200) return special[choice % (sizeof special / sizeof *special)];
    uint64_t bits = number(8);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint64_t a_quantity(void) {
    uint8_t choice = byte();
    return choice < 128 ? choice * UINT64_C(16) : choice < 250 ? number(3) : number(8);
}

/* A struct of a newer, older or broken caller: a copy of `value` in as many bytes as its struct_size says. */
static void *a_struct(const void *value, size_t size) {
    if (rarely()) return NULL;
    uint32_t struct_size = (uint32_t)size;
    if (rarely()) struct_size = byte();
    uint32_t room = struct_size < sizeof(uint32_t) ? sizeof(uint32_t) : struct_size;
    uint8_t *copy = exactly(room);
    memcpy(copy, value, room < size ? room : size);
    memcpy(copy, &struct_size, sizeof struct_size);
    return copy;
}

/* An empty struct to be filled. */
static void *a_result(size_t size) {
    static const uint8_t zeros[LARGEST_STRUCT];
    return a_struct(zeros, size);
}

/* A prompt: one of four beginnings, one of eight continuations from a chosen point on. So prompts share, split
 * and extend each other. */
static uint32_t *a_prompt(size_t *count) {
    uint8_t beginning = byte(), continuation = byte();
    size_t split = byte() * 2;
    *count = number(2) % (MOST_TOKENS + 1);
    uint32_t *tokens = exactly(*count * sizeof *tokens);
    for (size_t i = 0; i < *count; i += 1)
        tokens[i] = (uint32_t)i + (i < split ? beginning % 4 * UINT32_C(1000000) : (4 + continuation % 8) * UINT32_C(1000000));
    return tokens;
}

static uint64_t *some_ids(size_t count) {
    uint64_t *ids = exactly(count * sizeof *ids);
    for (size_t i = 0; i < count; i += 1) ids[i] = an_id();
    return ids;
}

static gotoni_request request_value(void) {
    gotoni_request request = { .struct_size = sizeof request };
    request.tokens = a_prompt(&request.token_count);
    request.namespace_key = byte() % 3;
    request.session_key = byte() % 9;
    if (byte() < 50) {
        request.exclude_count = byte() % MOST_ARRAY;
        request.exclude = some_ids(request.exclude_count);
    }
    if (rarely()) request.tokens = NULL;
    if (rarely()) request.exclude = NULL;
    /* Beyond max_prompt_tokens, which must be noticed before the tokens are read. */
    if (rarely()) request.token_count = (SIZE_MAX >> byte() % 24) | 1 << 20;
    return request;
}

static gotoni_request *a_request(void) {
    gotoni_request request = request_value();
    return a_struct(&request, sizeof request);
}

/* ----- One router and what is remembered of it --------------------------------------------------------- */

static gotoni_router *router;
static uint64_t tickets[64];
static size_t ticket_count;
static uint8_t snapshot[LARGEST_SNAPSHOT];
static size_t snapshot_size;

static uint64_t a_ticket(void) {
    uint8_t choice = byte();
    return choice < 250 ? tickets[choice % 64] : number(8);
}

static void remember(uint64_t ticket) { tickets[ticket_count++ % 64] = ticket; }

static void must_be_sound(void) {
    if (router != NULL && gotoni_router_check(router) != GOTONI_OK) {
        fprintf(stderr, "gotoni_router_check: the router is corrupt\n");
        abort();
    }
}

static void create(void) {
    gotoni_config config = { .struct_size = sizeof config };
    config.block_tokens = byte() % 4 == 0 ? 1 : 16;
    config.seed = byte();
    config.memory_budget_bytes = byte() % 2 == 0 ? UINT64_C(64) << 10 : UINT64_C(1) << 20; /* 64 KiB: evicts soon */
    config.max_prompt_tokens = MOST_TOKENS;
    config.default_kv_capacity_tokens = byte() % 2 == 0 ? 512 : UINT64_MAX;
    config.max_servers = 6;
    config.max_tickets = 1 + byte();
    if (rarely()) memset((char *)&config + byte() % sizeof config, byte(), 1);
    /* Bigger tables are valid, but too slow to make for every input. */
    if (config.memory_budget_bytes > UINT64_C(1) << 20) config.memory_budget_bytes = UINT64_C(1) << 20;
    if (config.max_tickets > 1024) config.max_tickets = 1024;
    if (config.max_servers > 64) config.max_servers = 64;
    config.max_prompt_tokens = MOST_TOKENS;
    config.struct_size = sizeof config;
    if (gotoni_router_create(&config, &router) != GOTONI_OK && router != NULL) abort();
    gotoni_server server = { .struct_size = sizeof server };
    for (server.id = 0; router != NULL && server.id < 3; server.id += 1) gotoni_server_add(router, &server, 0);
}

/* The kept snapshot with some bytes changed; half of the time with its checksum and length made right again,
 * to get behind the check that stops nearly all damage. */
static void load_damaged_snapshot(void) {
    enum { LENGTH_AT = 16, CHECKSUM_BYTES = sizeof(uint64_t) };
    size_t size = snapshot_size;
    if (byte() < 40) size = number(2) % (size + 1);
    uint8_t *copy = exactly(size);
    memcpy(copy, snapshot, size);
    uint8_t changes = byte() % 4;
    for (uint8_t i = 0; size > 0 && i < changes; i += 1) {
        size_t place = number(2) % size;
        copy[place] = byte();
    }
    if (byte() % 2 == 0 && size >= LENGTH_AT + sizeof(uint64_t) + CHECKSUM_BYTES) {
        uint64_t length = size;
        memcpy(copy + LENGTH_AT, &length, sizeof length);
        uint64_t checksum = gotoni_key(copy, size - CHECKSUM_BYTES);
        memcpy(copy + size - CHECKSUM_BYTES, &checksum, CHECKSUM_BYTES);
    }
    if (gotoni_snapshot_load(router, copy, size, a_time()) == GOTONI_OK) must_be_sound();
}

static void load_noise(void) {
    size_t size = byte();
    uint8_t *bytes = exactly(size);
    for (size_t i = 0; i < size; i += 1) bytes[i] = byte();
    gotoni_snapshot_load(rarely() ? NULL : router, rarely() ? NULL : bytes, size, a_time());
}

static void stored_event(void) {
    gotoni_kv_stored event = { .struct_size = sizeof event };
    size_t token_count;
    event.tokens = a_prompt(&token_count);
    event.block_size = byte() < 240 ? 16 * (1 + byte() % 3) : (uint32_t)number(4);
    event.block_count = event.block_size == 0 ? 0 : token_count / event.block_size;
    event.namespace_key = byte() % 3;
    event.has_parent = byte() < 128 ? byte() % 2 : byte() % 4;
    event.reserved = rarely();
    event.parent_hash = byte() % 64;
    uint64_t *hashes = exactly(event.block_count * sizeof *hashes);
    uint8_t first = byte();
    for (size_t i = 0; i < event.block_count; i += 1) hashes[i] = (first + i) % 64;
    event.hashes = hashes;
    if (rarely()) event.hashes = NULL;
    if (rarely()) event.tokens = NULL;
    if (rarely() && event.block_size > 0) event.block_count = (SIZE_MAX >> byte() % 24) | 1 << 20;
    gotoni_kv_stored_event(router, an_id(), a_struct(&event, sizeof event), a_time());
}

static void removed_event(void) {
    size_t count = byte() % MOST_ARRAY;
    uint64_t *hashes = exactly(count * sizeof *hashes);
    for (size_t i = 0; i < count; i += 1) hashes[i] = byte() % 64;
    gotoni_kv_removed_event(router, an_id(), rarely() ? NULL : hashes, count, a_time());
}

static void route_one(void) {
    gotoni_decision *decision = a_result(sizeof *decision);
    gotoni_request *request = a_request();
    if (gotoni_route(router, request, a_time(), decision) == GOTONI_OK
        && decision->struct_size >= offsetof(gotoni_decision, server))
        remember(decision->ticket);
}

static void route_batch(void) {
    enum { MOST = 4 };
    size_t count = byte() % (MOST + 1);
    gotoni_request *requests = exactly(count * sizeof *requests);
    gotoni_decision *decisions = exactly(count * sizeof *decisions);
    gotoni_status *statuses = exactly(count * sizeof *statuses);
    for (size_t i = 0; i < count; i += 1) requests[i] = request_value();
    if (count > 0) decisions[0].struct_size = sizeof *decisions;
    if (gotoni_route_batch(router, rarely() ? NULL : requests, count, a_time(), rarely() ? NULL : decisions,
                           rarely() ? NULL : statuses) != GOTONI_OK)
        return;
    for (size_t i = 0; i < count; i += 1)
        if (statuses[i] == GOTONI_OK) remember(decisions[i].ticket);
}

static void explain(void) {
    size_t capacity = byte() % MOST_ARRAY, count;
    gotoni_candidate *rows = exactly(capacity * sizeof *rows);
    if (capacity > 0) rows[0].struct_size = rarely() ? byte() % 4 : sizeof *rows;
    else rows = NULL; /* without a first row there is nowhere to say its size */
    gotoni_decision *decision = a_result(sizeof *decision);
    gotoni_explain(router, a_request(), a_time(), rarely() ? NULL : rows, capacity, rarely() ? NULL : &count, decision);
}

static void match(void) {
    size_t capacity = byte() % MOST_ARRAY, count;
    uint64_t *servers = exactly(capacity * sizeof *servers), *lengths = exactly(capacity * sizeof *lengths);
    gotoni_match(router, a_request(), rarely() ? NULL : servers, rarely() ? NULL : lengths, capacity,
                 rarely() ? NULL : &count);
}

static void save(void) {
    size_t size = 0;
    gotoni_snapshot_save(router, NULL, 0, &size);
    size_t capacity = rarely() ? number(2) : size;
    if (capacity > LARGEST_SNAPSHOT) return;
    uint8_t *bytes = exactly(capacity);
    if (gotoni_snapshot_save(router, bytes, capacity, rarely() ? NULL : &size) != GOTONI_OK) return;
    memcpy(snapshot, bytes, size);
    snapshot_size = size;
}

static void name_something(void) {
    char *name = exactly(12);
    for (int i = 0; i < 11; i += 1) name[i] = (char)byte();
    uint32_t result;
    gotoni_policy_from_name(rarely() ? NULL : name, rarely() ? NULL : &result);
    gotoni_knob_from_name(rarely() ? NULL : name, rarely() ? NULL : &result);
    gotoni_policy_name(byte());
    gotoni_status_text((gotoni_status)number(4));
}

static void observe_metrics(void) {
    gotoni_metrics metrics = { .struct_size = sizeof metrics };
    metrics.known = byte();
    metrics.queued_requests = a_quantity();
    metrics.running_requests = a_quantity();
    metrics.queued_tokens = a_quantity();
    metrics.running_tokens = a_quantity();
    metrics.kv_capacity_tokens = a_quantity();
    metrics.incarnation = byte() % 3;
    gotoni_observe_metrics(router, an_id(), a_struct(&metrics, sizeof metrics), a_time());
}

static void add_or_update(gotoni_status (*call)(gotoni_router *, const gotoni_server *, uint64_t)) {
    gotoni_server server = { .struct_size = sizeof server };
    server.id = an_id();
    server.max_requests = byte() % 8;
    server.kv_capacity_tokens = a_quantity();
    call(router, a_struct(&server, sizeof server), a_time());
}

static void one_call(void) {
    switch (byte() % 40) {
    case 0: case 1: case 2: case 3: case 4: route_one(); break;
    case 5: route_batch(); break;
    case 6: explain(); break;
    case 7: case 8: gotoni_commit(router, a_ticket(), a_time()); break;
    case 9: case 10: gotoni_first_token(router, a_ticket(), a_time()); break;
    case 11: gotoni_progress(router, a_ticket(), a_time()); break;
    case 12: case 13: case 14: { uint64_t ticket = a_ticket(); gotoni_finish(router, ticket, byte() % 5, a_time()); break; }
    case 15: { uint64_t ticket = a_ticket(); gotoni_observe_cached_tokens(router, ticket, a_quantity(), a_time()); break; }
    case 16: { uint64_t id = an_id(); gotoni_observe_rtt(router, id, number(1 + byte() % 8), a_time()); break; }
    case 17: observe_metrics(); break;
    case 18: case 19: case 20: stored_event(); break;
    case 21: removed_event(); break;
    case 22: gotoni_kv_cleared_event(router, an_id(), a_time()); break;
    case 23: add_or_update(gotoni_server_add); break;
    case 24: add_or_update(gotoni_server_update); break;
    case 25: { uint64_t id = an_id(); gotoni_server_mark(router, id, byte() % 4, a_time()); break; }
    case 26: gotoni_server_remove(router, an_id(), a_time()); break;
    case 27: {
        size_t capacity = byte() % MOST_ARRAY, count;
        uint64_t *ids = exactly(capacity * sizeof *ids);
        gotoni_server_list(router, rarely() ? NULL : ids, capacity, rarely() ? NULL : &count);
        break;
    }
    case 28: { uint64_t id = an_id(), now = a_time(); gotoni_server_get(router, id, now, a_result(sizeof(gotoni_server_info))); break; }
    case 29: match(); break;
    case 30: case 31: { uint64_t id = an_id(); gotoni_prefix_insert(router, id, a_request(), a_time()); break; }
    case 32: { uint64_t id = an_id(), keep = a_quantity(); gotoni_prefix_remove(router, id, a_request(), keep, a_time()); break; }
    case 33: if (rarely()) gotoni_prefix_clear(router, a_time()); else gotoni_prefix_clear_server(router, an_id(), a_time()); break;
    case 34:
        gotoni_prefix_stats_get(router, a_result(sizeof(gotoni_prefix_stats)));
        gotoni_stats_get(router, a_result(sizeof(gotoni_stats)));
        break;
    case 35: {
        uint32_t policy;
        gotoni_policy_set(router, byte() % 11);
        gotoni_policy_get(router, rarely() ? NULL : &policy);
        break;
    }
    case 36: {
        uint32_t knob = byte() % 13;
        double value;
        gotoni_knob_set(router, knob, a_double());
        gotoni_knob_get(router, knob, rarely() ? NULL : &value);
        gotoni_knob_info_get(knob, a_result(sizeof(gotoni_knob_info)));
        break;
    }
    case 37: save(); break;
    case 38: if (byte() < 200) load_damaged_snapshot(); else load_noise(); break;
    case 39: name_something(); break;
    }
    free_all();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    input = data;
    left = size;
    now_ns = 0;
    router = NULL;
    ticket_count = snapshot_size = 0;
    memset(tickets, 0, sizeof tickets);
    create(); /* may fail for a hostile configuration: then all calls get a NULL router */
    for (int call = 0; call < MOST_CALLS && left > 0; call += 1) {
        one_call();
        if (call % 32 == 31) must_be_sound();
    }
    must_be_sound();
    gotoni_router_destroy(router);
    return 0;
}
