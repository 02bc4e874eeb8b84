/* Tests of the header's rule "Threads": any function from any thread at any time on the same router. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"
#include <pthread.h>

enum { THREADS = 8, CALLS = 20000, OPEN = 16, SERVERS = 6 };

typedef struct {
    gotoni_router *router;
    uint64_t random;
    unsigned surprises; /* statuses that no interleaving explains */
} worker;

static uint64_t next(uint64_t *random) { /* xorshift64 */
    *random ^= *random << 13;
    *random ^= *random >> 7;
    *random ^= *random << 17;
    return *random;
}

static void expect(worker *me, gotoni_status status, gotoni_status also_fine) {
    if (status != GOTONI_OK && status != also_fine) me->surprises += 1;
}

/* Routes requests, takes them through their phases in random order, and finishes every one of them. Between
 * that it observes, asks, forgets, and takes servers away and back. */
static void *work(void *argument) {
    worker *me = argument;
    gotoni_router *router = me->router;
    uint64_t open[OPEN] = { 0 };
    for (uint64_t call = 0; call < CALLS; call += 1) {
        const uint64_t chance = next(&me->random), id = 1 + next(&me->random) % SERVERS;
        uint64_t *ticket = &open[next(&me->random) % OPEN];
        uint32_t tokens[256];
        fill(tokens, 256, (uint32_t)(next(&me->random) % 20) * 1000);
        gotoni_request request = request_of(tokens, next(&me->random) % 257);
        switch (chance % 16) {
        case 0: {
            gotoni_server server = { .struct_size = sizeof server, .id = id, .kv_capacity_tokens = 4096 };
            if (chance % 5 == 0) expect(me, gotoni_server_remove(router, id, call), GOTONI_E_UNKNOWN_SERVER);
            else expect(me, gotoni_server_add(router, &server, call), GOTONI_E_DUPLICATE_SERVER);
            break;
        }
        case 1: expect(me, gotoni_server_mark(router, id, chance / 16 % 8 < 3 ? chance / 16 % 8 : 0, call),
                       GOTONI_E_UNKNOWN_SERVER); break;
        case 2: expect(me, gotoni_observe_rtt(router, id, chance % SECOND, call), GOTONI_E_UNKNOWN_SERVER); break;
        case 3: {
            gotoni_server_info info = { .struct_size = sizeof info };
            expect(me, gotoni_server_get(router, id, call, &info), GOTONI_E_UNKNOWN_SERVER);
            break;
        }
        case 4: expect(me, gotoni_policy_set(router, 1 + chance / 16 % 8), GOTONI_OK); break;
        case 5: {
            uint64_t servers[SERVERS], lengths[SERVERS];
            size_t count;
            expect(me, gotoni_match(router, &request, servers, lengths, SERVERS, &count), GOTONI_OK);
            break;
        }
        case 6: expect(me, gotoni_prefix_insert(router, id, &request, call), GOTONI_E_UNKNOWN_SERVER); break;
        case 7:
            if (chance / 16 % 64 == 0) expect(me, gotoni_prefix_clear_server(router, id, call), GOTONI_E_UNKNOWN_SERVER);
            else if (chance / 16 % 64 == 1) expect(me, gotoni_router_check(router), GOTONI_OK);
            else expect(me, gotoni_prefix_remove(router, id, &request, 32, call), GOTONI_E_UNKNOWN_SERVER);
            break;
        case 8: case 9: case 10: case 11:
            if (*ticket == 0) {
                gotoni_decision decision = { .struct_size = sizeof decision };
                gotoni_status status = gotoni_route(router, &request, call, &decision);
                expect(me, status, GOTONI_E_NO_SERVER);
                if (status == GOTONI_OK) *ticket = decision.ticket;
            }
            break;
        default: /* E_TICKET_ENDED: somebody removed the server meanwhile */
            if (*ticket == 0) break;
            if (chance % 16 == 12) expect(me, gotoni_commit(router, *ticket, call), GOTONI_E_TICKET_ENDED);
            else if (chance % 16 == 13) expect(me, gotoni_first_token(router, *ticket, call), GOTONI_E_TICKET_ENDED);
            else if (chance % 16 == 14) expect(me, gotoni_observe_cached_tokens(router, *ticket, 0, call), GOTONI_E_TICKET_ENDED);
            else {
                expect(me, gotoni_finish(router, *ticket, chance / 16 % 4, call), GOTONI_OK);
                *ticket = 0;
            }
        }
    }
    for (size_t i = 0; i < OPEN; i += 1)
        if (open[i] != 0) expect(me, gotoni_finish(router, open[i], GOTONI_FINISH_OK, CALLS), GOTONI_OK);
    return NULL;
}

static void eight_threads_leave_a_sound_router_with_nothing_in_flight(void) {
    gotoni_router *router = router_with(SERVERS);
    worker workers[THREADS];
    pthread_t threads[THREADS];
    for (uint64_t i = 0; i < THREADS; i += 1) {
        workers[i] = (worker){ router, 0x9E3779B97F4A7C15 * (i + 1), 0 };
        CHECK(pthread_create(&threads[i], NULL, work, &workers[i]) == 0);
    }
    for (size_t i = 0; i < THREADS; i += 1) {
        CHECK(pthread_join(threads[i], NULL) == 0);
        EQUAL(workers[i].surprises, 0);
    }
    OK(gotoni_router_check(router));
    gotoni_stats stats = stats_of(router);
    CHECK(stats.routed > THREADS * 100);
    EQUAL(stats.open_tickets, 0);
    EQUAL(stats.routed, stats.finished_ok + stats.finished_failed + stats.finished_cancelled
                            + stats.finished_not_sent + stats.expired + stats.orphaned);
    uint64_t ids[SERVERS];
    size_t count = 0;
    OK(gotoni_server_list(router, ids, SERVERS, &count));
    for (size_t i = 0; i < count; i += 1) {
        gotoni_server_info info = info_of(router, ids[i], CALLS);
        EQUAL(info.queued_requests + info.running_requests, 0);
        EQUAL(info.queued_tokens + info.running_tokens, 0);
    }
    end(router);
}

static void *make_use_and_end_routers(void *argument) {
    (void)argument;
    uint32_t tokens[64];
    fill(tokens, 64, 0);
    for (int i = 0; i < 50; i += 1) {
        gotoni_router *router = NULL;
        gotoni_server server = { .struct_size = sizeof server, .id = 1 };
        gotoni_request request = request_of(tokens, 64);
        gotoni_decision decision = { .struct_size = sizeof decision };
        if (gotoni_router_create(NULL, &router) != GOTONI_OK
            || gotoni_server_add(router, &server, 0) != GOTONI_OK
            || gotoni_route(router, &request, 0, &decision) != GOTONI_OK
            || gotoni_router_check(router) != GOTONI_OK)
            return argument;
        gotoni_router_destroy(router);
    }
    return NULL;
}

static void routers_of_different_threads_do_not_disturb_each_other(void) {
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i += 1)
        CHECK(pthread_create(&threads[i], NULL, make_use_and_end_routers, threads) == 0);
    for (size_t i = 0; i < THREADS; i += 1) {
        void *failed = NULL;
        CHECK(pthread_join(threads[i], &failed) == 0);
        CHECK(failed == NULL);
    }
}

int main(void) {
    TEST(eight_threads_leave_a_sound_router_with_nothing_in_flight);
    TEST(routers_of_different_threads_do_not_disturb_each_other);
    return check_result();
}
