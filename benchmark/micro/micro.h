/*
 * What the measurements share. One file per job:
 *
 *   micro.c         command line: which measurement, with which numbers
 *   prompts.c       the prompts, all from one seeded generator
 *   support.c       clock, percentiles, routers with servers, errors
 *   heap.c          counts calls of malloc and its kin, also those made inside the library
 *   rows.c          route + commit on prompts from a file (the other side runs the same file)
 *   threads.c       match by 8 threads; route + commit + finish by 1 and 8 threads
 *   allocations.c   heap allocations in steady state
 *   memory.c        bytes per token held
 *   many_servers.c  route among 10,000 servers
 *   floor.c         the time of the block hashing alone
 *
 * Every measurement prints one line of JSON on standard output, and ends the process with a sentence on
 * standard error if any call fails: a wrong answer must not be timed.
 */
#ifndef MICRO_H
#define MICRO_H

#include <gotoni.h>

enum {
    GROUPS = 20,          /* prompts with a common beginning form a group */
    SHARED_PERCENT = 55,  /* how much of a prompt is its group's */
    VOCABULARY = 151936,
    WARM_PROMPTS = 400,   /* prompts in the trie before the measurements without a file begin */
    SERVERS = 128,        /* unless a measurement says otherwise */
    THREADS = 8
};

/* ---- prompts.c ---- */

/* One prompt per group, made once. prompts_next hands them out in turn, each time with another first token
 * behind the shared part. Digests are chained, so every block from there on is new to the router, at no cost
 * to the loop that is being timed. */
typedef struct prompts {
    size_t tokens;
    size_t shared;
    uint32_t *text;    /* GROUPS x tokens */
    uint32_t serial;   /* the next prompt's number */
} prompts;

/* Two sets with the same `tokens` have the same groups. Threads give different `first_serial`. */
prompts prompts_make(size_t tokens, uint32_t first_serial);
void prompts_free(prompts *set);
gotoni_request prompts_next(prompts *set);

/* Writes `count` independent prompts as native uint32: the group's shared part, then uniform tokens. */
void prompts_write(const char *path, size_t tokens, size_t count);

/* ---- support.c ---- */

uint64_t clock_ns(void);
void *checked_alloc(size_t size);
void fail(const char *what) __attribute__((noreturn));
void must(gotoni_status status, const char *what);

typedef struct summary {
    double median_us;
    double p99_us;
} summary;

/* Sorts `samples` (nanoseconds). */
summary summarize(uint64_t *samples, size_t count);

/* A router of policy gorgo with servers 1..servers, each with an observed round trip time and load. */
gotoni_router *make_router(uint32_t servers, uint64_t kv_capacity_tokens, uint64_t budget_bytes);

/* The server on which warm prompt `index` is placed. gorgo_lb.py computes the same. */
uint64_t placement(uint32_t index, uint32_t servers);

/* Places WARM_PROMPTS prompts and sends a few through route, commit and finish. */
void warm(gotoni_router *router, prompts *set, uint32_t servers);

/* Routes and commits; the time covers just these two calls. */
uint64_t time_route_commit(gotoni_router *router, const gotoni_request *request, uint64_t *ticket);

void route_commit_finish(gotoni_router *router, const gotoni_request *request);

/* ---- heap.c ---- */

void heap_count_begin(void);
uint64_t heap_count_end(void);

/* ---- the measurements ---- */

void measure_rows(const char *path, size_t tokens, uint32_t servers, size_t warmed, size_t timed);
void measure_match(size_t calls);
void measure_contention(size_t calls);
void measure_allocations(size_t calls);
void measure_memory(size_t tokens, uint64_t held_tokens);
void measure_many_servers(size_t calls);
void measure_floor(size_t tokens);

#endif
