/*
 * gotoni - a router for LLM servers, as a library.
 *
 * You run several servers that answer prompts (SGLang, vLLM, llama.cpp ...), perhaps in several regions.
 * For every request gotoni says which server should get it, so that the user waits as little as possible
 * for the first token. It knows which server holds the key-value cache of which prompt prefix, how far away
 * each server is, and how much work each one has; it adds these up as one cost in nanoseconds.
 *
 *     gotoni_router *router = NULL;
 *     gotoni_config config = { .struct_size = sizeof config }; // zero means default, everywhere
 *     gotoni_router_create(&config, &router);
 *
 *     gotoni_server server = { .struct_size = sizeof server };
 *     server.id = 1;                                           // ids are yours: any number
 *     gotoni_server_add(router, &server, now);
 *
 *     gotoni_request request = { .struct_size = sizeof request };
 *     request.tokens = tokens;                                 // the prompt as token ids
 *     request.token_count = count;
 *     gotoni_decision decision = { .struct_size = sizeof decision };
 *     if (gotoni_route(router, &request, now, &decision) == GOTONI_OK) {
 *         gotoni_commit(router, decision.ticket, now);         // when you send it to decision.server
 *         gotoni_first_token(router, decision.ticket, now);    // when the answer begins
 *         gotoni_finish(router, decision.ticket, GOTONI_FINISH_OK, now);
 *     }
 *     gotoni_router_destroy(router);
 *
 * THE RULES, said once
 *
 * Threads     Any function may be called from any thread at any time on the same router, except
 *             gotoni_router_destroy, which must be the last call and overlap no other. One short lock
 *             guards a router; work proportional to the prompt (hashing) is done outside it.
 * Ownership   Pointers you pass are BORROWED until the call returns. Results are COPIED into your memory.
 *             Strings that come back are STATIC and never freed. You free exactly one thing: the router.
 * Structs     Every struct begins with `uint32_t struct_size`; set it to sizeof. Fields are only ever
 *             appended, so a program built against an older header keeps working with a newer library. In a
 *             struct you pass in, zero (or a field beyond struct_size) means "the default". Every sizeof is a
 *             multiple of 8; another struct_size is GOTONI_E_ARGUMENT. In an array of
 *             structs the struct_size of the first element holds for all.
 * Arrays out  Pass a capacity; `*count` receives how many entries there are. If they do not fit, nothing is
 *             written and GOTONI_E_BUFFER comes back: grow the array and call again. Capacity 0 with a NULL
 *             array is the way to ask for the size. (A new size may be needed if others call meanwhile.)
 * Time        `now_ns` is any clock of yours that counts nanoseconds and does not jump: CLOCK_MONOTONIC, an
 *             event loop's clock, or a simulation's. gotoni never reads a clock. An older `now_ns` than one
 *             seen before is taken as the newest seen: time does not run backwards.
 * Chance      Ties are broken by a generator seeded from gotoni_config.seed. The same configuration, seed
 *             and sequence of calls give the same decisions, bit for bit.
 * Nothing     No callbacks, no threads, no input or output, no environment variables, no global state.
 * hidden      No error crosses as a crash: hostile values are answered by a negative status. (Memory you
 *             describe wrongly, such as a token_count beyond the array, cannot be detected.)
 * NULL        A NULL router, a NULL pointer to something that is needed and an array that is not aligned for
 *             its elements give GOTONI_E_ARGUMENT everywhere. A pointer whose count is 0 is not looked at.
 * Memory      Calls that take a prompt can also give GOTONI_E_MEMORY.
 * fork        A router may be used in the child only if no other thread was inside a call during fork().
 */
#ifndef GOTONI_H
#define GOTONI_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ===== Version ====================================================================================== */

/* The version of this header. The shared library's file name carries the ABI number (libgotoni.so.0). */
#define GOTONI_ABI_VERSION 0
#define GOTONI_VERSION "0.1.0"

/* The ABI number of the library that was loaded. Compare with GOTONI_ABI_VERSION before anything else. */
uint32_t gotoni_abi_version(void);

/* The library's version as text, such as "0.1.0". STATIC. */
const char *gotoni_version(void);

/* ===== Status ======================================================================================= */

/* Every call that can fail returns one of these. Zero is success; errors are negative and a closed set.
 * There is no "last error" to fetch: the code says enough to act on, gotoni_status_text says it to people. */
typedef int32_t gotoni_status;
enum {
    GOTONI_OK = 0,
    GOTONI_E_ARGUMENT = -1,         /* a needed pointer is NULL, a struct_size is wrong, a flag is unknown */
    GOTONI_E_RANGE = -2,            /* a number is outside its bounds, negative, or not a number */
    GOTONI_E_UNKNOWN_SERVER = -3,   /* no server has this id */
    GOTONI_E_DUPLICATE_SERVER = -4, /* a server with this id was added before */
    GOTONI_E_NO_SERVER = -5,        /* no server may take this request: none is up, or all are excluded */
    GOTONI_E_SATURATED = -6,        /* servers are up, but each is at its max_requests: wait, then try again */
    GOTONI_E_CAPACITY = -7,         /* a bound of gotoni_config is reached (servers, tickets, memory) */
    GOTONI_E_TICKET = -8,           /* no such ticket was ever issued by this router */
    GOTONI_E_TICKET_ENDED = -9,     /* the ticket was finished, or expired after a long silence */
    GOTONI_E_UNKNOWN_POLICY = -10,  /* no policy has this name or number */
    GOTONI_E_UNKNOWN_KNOB = -11,    /* no knob has this name or number */
    GOTONI_E_BUFFER = -12,          /* the array is too small; *count or *size says what is needed */
    GOTONI_E_BLOCK_SIZE = -13,      /* the engine's block size is no multiple of the router's block_tokens */
    GOTONI_E_UNKNOWN_PARENT = -14,  /* a KV event continues a block we never saw: events were lost */
    GOTONI_E_SNAPSHOT = -15,        /* the bytes are no snapshot, or were damaged */
    GOTONI_E_SNAPSHOT_VERSION = -16,/* a snapshot of another format version or another block_tokens */
    GOTONI_E_MEMORY = -17,          /* the system gave no memory */
    GOTONI_E_CORRUPT = -18,         /* gotoni_router_check found an inconsistency: a defect, please report it */
    GOTONI_E_UNTUNABLE = -19        /* the policy in force has no weights to tune, or all are 0 */
};

/* One sentence for people: what happened and what to do. STATIC; never NULL, also for unknown codes. */
const char *gotoni_status_text(gotoni_status status);

/* ===== Keys ========================================================================================= */

/* gotoni compares sessions and namespaces as 64-bit keys. These helpers make good ones (XXH3-64). */

/* A key for any bytes: a session id, a user id, an engine's 32-byte block hash. `bytes` may be NULL if
 * `size` is 0. The same bytes give the same key on every machine and in every version. */
uint64_t gotoni_key(const void *bytes, size_t size);

/* The namespace of a prompt: two requests can share cached blocks only if all three parts are equal. Each
 * part is hashed with its length, so ("ab","c") and ("a","bc") differ. Any part may be NULL with size 0.
 *   model    the model's name        adapter  LoRA or other adapter        salt  tenant or cache salt */
uint64_t gotoni_namespace_key(const char *model, size_t model_size, const char *adapter, size_t adapter_size,
                              const char *salt, size_t salt_size);

/* ===== Router ======================================================================================= */

/* The one handle. Opaque; made by gotoni_router_create, ended by gotoni_router_destroy. */
typedef struct gotoni_router gotoni_router;

/* What a router is made with and never changes. Zero means the default given in brackets. */
typedef struct gotoni_config {
    uint32_t struct_size;
    /* Tokens per block of the prefix trie [16], 1 to 1,024. A prompt matches in whole blocks. 1 is exact to
     * the token and costs about 16 times the memory of 16. To feed KV events it must divide the engine's
     * block (page) size. */
    uint32_t block_tokens;
    /* Seed of the generator that breaks ties and drives the random policies [0 is a seed like any other]. */
    uint64_t seed;
    /* Hard bound, in bytes, on the prefix trie, the prompts of open tickets and the KV-event index together
     * [256 MiB], 64 KiB to 32 GiB. Address space is taken at once, memory only as it fills. When it is full
     * the least recently used prefixes are forgotten; the bound is never passed. */
    uint64_t memory_budget_bytes;
    /* Longest prompt accepted, in tokens [16,777,216], up to 1,073,741,824. Longer ones: GOTONI_E_RANGE. */
    uint64_t max_prompt_tokens;
    /* KV cache of a server that does not say its own, in tokens [524,288]. */
    uint64_t default_kv_capacity_tokens;
    /* Most servers at one time [65,535], which is also the limit. */
    uint32_t max_servers;
    /* Most open tickets at one time [65,536], up to 16,777,216. Beyond: GOTONI_E_CAPACITY. */
    uint32_t max_tickets;
} gotoni_config;

/* Makes a router. `config` may be NULL for all defaults. On success *out holds it; else *out is NULL.
 * Errors: ARGUMENT, RANGE, MEMORY. */
gotoni_status gotoni_router_create(const gotoni_config *config, gotoni_router **out);

/* Ends a router and frees all it owns. NULL is allowed. Open tickets simply vanish. */
void gotoni_router_destroy(gotoni_router *router);

/* Walks everything the router holds and checks its invariants (sums equal their parts, a prefix's holders
 * hold its beginning too, bytes within budget ...). For tests and for doubt at 3 a.m.: takes time in
 * proportion to what is held (and to the square of the servers that share a prefix), under the lock. Errors: CORRUPT. */
gotoni_status gotoni_router_check(gotoni_router *router);

/* ===== Servers ====================================================================================== */

/* A server is something that can run a request. Ids are yours and are never interpreted; an id may be used
 * again after its removal and then starts clean. */
enum {
    GOTONI_SERVER_UP = 0,       /* takes requests */
    GOTONI_SERVER_DRAINING = 1, /* finishes what it has, takes nothing new, keeps its prefixes */
    GOTONI_SERVER_DOWN = 2      /* takes nothing; its prefixes are forgotten, for a restart empties the cache */
};

typedef struct gotoni_server {
    uint32_t struct_size;
    /* Most requests at one time, counted from route to finish [no limit]. */
    uint32_t max_requests;
    uint64_t id;
    /* The server's KV cache in tokens [default_kv_capacity_tokens]. Beyond it the router forgets that
     * server's least recently used prefixes, leaves first, because the engine evicts too. UINT64_MAX: no
     * bound of its own, for engines whose KV events report every eviction. */
    uint64_t kv_capacity_tokens;
} gotoni_server;

/* What is known about one server, for status pages. Filled by gotoni_server_get. */
typedef struct gotoni_server_info {
    uint32_t struct_size;
    uint32_t state;                 /* GOTONI_SERVER_* */
    uint64_t id;
    uint32_t max_requests;          /* 0: no limit */
    uint32_t metrics_known;         /* 1 if an observation younger than the knob metrics_ttl_ms exists */
    uint64_t kv_capacity_tokens;
    uint64_t held_tokens;           /* tokens of prefixes the router believes to be cached there */
    int64_t rtt_ns;                 /* filtered round trip time; -1 if never observed: unknown is not zero */
    uint64_t queued_requests;       /* routed, first token not seen: ours */
    uint64_t running_requests;      /* first token seen, not finished: ours */
    uint64_t queued_tokens;         /* prompt tokens of the queued requests */
    uint64_t running_tokens;        /* prompt tokens of the running requests */
    uint64_t foreign_queued_requests;  /* of other routers: what they say, and what metrics report beyond it */
    uint64_t foreign_running_requests;
    uint64_t foreign_queued_tokens;
    uint64_t foreign_running_tokens;
    uint64_t predicted_cached_tokens;  /* parity meter: sum of matched tokens of requests ... */
    uint64_t reported_cached_tokens;   /* ... for which the engine reported this many cached */
    uint64_t parity_reports;           /* how many such reports */
    uint64_t kv_blocks_stored;         /* KV events taken in, in engine blocks */
    uint64_t kv_blocks_removed;
    uint64_t kv_blocks_orphaned;       /* stored events refused for an unknown parent */
    uint64_t owed_tokens;              /* of queued_tokens, those not believed cached: prefill still to be done */
    /* What its answers have taught (policy predictive); before the first one, what the other servers' have. */
    uint64_t predictions;              /* first tokens that were compared with what was predicted */
    double prediction_bias_ms;         /* of the last 200, observed less predicted: their mean ... */
    double prediction_error_ms;        /* ... and their mean size */
    double overhead_ms;                /* of every request, besides its round trip */
    double prefill_ms_per_token;       /* with nobody beside it */
    double reading_ms_per_token;       /* of the whole prompt, cached or not */
    double upload_round_trips;         /* of the round trips that a long prompt needs on an idle connection, the share taken */
    double decode_ms;                  /* of a whole answer of mean length, alone, from its first token on */
    double decode_ms_per_request;      /* added by each request beside it */
} gotoni_server_info;

/* Adds a server, state UP. Errors: ARGUMENT, DUPLICATE_SERVER, CAPACITY. */
gotoni_status gotoni_server_add(gotoni_router *router, const gotoni_server *server, uint64_t now_ns);

/* Replaces max_requests and kv_capacity_tokens of a known server; a smaller cache evicts at once.
 * Errors: ARGUMENT, UNKNOWN_SERVER. */
gotoni_status gotoni_server_update(gotoni_router *router, const gotoni_server *server, uint64_t now_ns);

/* Sets the state (GOTONI_SERVER_*). Open tickets keep counting. Errors: ARGUMENT, UNKNOWN_SERVER. */
gotoni_status gotoni_server_mark(gotoni_router *router, uint64_t id, uint32_t state, uint64_t now_ns);

/* Removes a server, its prefixes, and ends its open tickets (finishing them later is still GOTONI_OK).
 * Errors: UNKNOWN_SERVER. */
gotoni_status gotoni_server_remove(gotoni_router *router, uint64_t id, uint64_t now_ns);

/* Lists the ids of all servers, in no particular order. Errors: ARGUMENT, BUFFER. */
gotoni_status gotoni_server_list(gotoni_router *router, uint64_t *ids, size_t capacity, size_t *count);

/* Fills *info (set info->struct_size first). Errors: ARGUMENT, UNKNOWN_SERVER. */
gotoni_status gotoni_server_get(gotoni_router *router, uint64_t id, uint64_t now_ns, gotoni_server_info *info);

/* ===== Requests ===================================================================================== */

/* The life of a request:
 *
 *     route --> reserved --commit--> committed --first_token--> running --finish--> ended
 *
 * route chooses AND counts, so that a burst does not all see the same idle server. Each later call only
 * moves forward: repeating one, or skipping one, is harmless (first_token implies commit). A ticket must be
 * finished; one that falls silent (no commit, first_token, progress) for the knob ticket_silence_ms is
 * ended by the router (as if it had failed), so a crashed caller leaks nothing. Age alone never ends a ticket. */

typedef struct gotoni_request {
    uint32_t struct_size;
    /* Number of ids in `exclude`. */
    uint32_t exclude_count;
    /* The prompt as token ids. May be NULL if token_count is 0. Use the engine's own tokens if you have
     * them, else any stable estimate: what matters is that equal prefixes give equal tokens. */
    const uint32_t *tokens;
    size_t token_count;
    /* From gotoni_namespace_key [one common namespace]. */
    uint64_t namespace_key;
    /* From gotoni_key, for the policy session-affinity [no session]. */
    uint64_t session_key;
    /* Servers that must not be chosen, such as the one that just failed. Unknown ids are ignored. */
    const uint64_t *exclude;
} gotoni_request;

/* Why the chosen server was chosen. */
enum {
    GOTONI_REASON_POLICY = 0,     /* the policy decided */
    GOTONI_REASON_NO_MATCH = 1,   /* prefix-tree found no prefix anywhere: least-load decided */
    GOTONI_REASON_NO_SESSION = 2  /* session-affinity got no session_key: least-load decided */
};

typedef struct gotoni_decision {
    uint32_t struct_size;
    uint32_t reason;          /* GOTONI_REASON_* */
    uint64_t ticket;          /* the receipt; 0 from gotoni_explain, never 0 from gotoni_route */
    uint64_t server;          /* the id of the chosen server */
    uint64_t prompt_tokens;
    uint64_t matched_tokens;  /* of these, believed cached on the chosen server */
    int64_t cost_ns;          /* GORGO cost of the chosen server, whatever the policy: the sum of the next four */
    int64_t rtt_cost_ns;      /* rtt_weight x round trip time (or the prior, when unknown) */
    int64_t prefill_cost_ns;  /* ms_per_token x (prompt_tokens - matched_tokens + eviction_weight x evicted tokens) */
    int64_t queued_cost_ns;   /* ms_per_token x queued_weight x owed tokens */
    int64_t running_cost_ns;  /* ms_per_token x running_cost_factor x (queued + running tokens) */
    uint32_t policy;          /* the policy in force, GOTONI_POLICY_* */
    uint32_t eligible;        /* how many servers could have been chosen */
    int64_t predicted_first_token_ns; /* at the chosen server, whatever the policy */
    int64_t predicted_last_token_ns;
    int64_t predicted_cost_ns;        /* what predictive compares */
    uint32_t trial;           /* 1: the tuner decided with weights that are on trial, and costs are with those */
    uint32_t reserved;        /* 0 */
} gotoni_decision;

/* Whether a server could be chosen, and if not, why. */
enum {
    GOTONI_ELIGIBLE = 0,
    GOTONI_NOT_UP = 1,      /* draining or down */
    GOTONI_AT_LIMIT = 2,    /* at its max_requests */
    GOTONI_EXCLUDED = 3     /* named in the request's `exclude` */
};

/* One row of the table behind a decision. Loads include what the metrics report beyond our own. */
typedef struct gotoni_candidate {
    uint32_t struct_size;
    uint32_t verdict;         /* GOTONI_ELIGIBLE ... */
    uint64_t server;
    uint64_t matched_tokens;  /* 0 for an excluded server: it is not looked at */
    uint64_t uncached_tokens;
    uint64_t queued_requests;
    uint64_t running_requests;
    uint64_t queued_tokens;
    uint64_t running_tokens;
    int64_t rtt_ns;           /* -1: unknown, the cost uses the knob rtt_prior_ms */
    int64_t cost_ns;          /* sum of the next four */
    int64_t rtt_cost_ns;
    int64_t prefill_cost_ns;
    int64_t queued_cost_ns;
    int64_t running_cost_ns;
    uint32_t metrics_known;   /* 0: foreign load is priced by the mean of the servers that report theirs */
    uint32_t chosen;          /* 1 on the row the decision names */
    uint64_t owed_tokens;     /* of queued_tokens, those not believed cached: prefill still to be done */
    uint64_t evicted_tokens;  /* what this prompt would drive out of a cache that is full: 0 while it has room */
    /* What predictive expects there, in time of the clock; the first four add up to the first token. */
    int64_t predicted_network_ns; /* the round trip, and what every request takes */
    int64_t predicted_upload_ns;  /* of sending and reading a long prompt */
    int64_t predicted_wait_ns;    /* from its arrival until the engine has prefilled what came before, or has a place */
    int64_t predicted_prefill_ns; /* of the uncached tokens */
    int64_t predicted_decode_ns;  /* from the first token of an answer of mean length to its last */
    int64_t predicted_others_ns;  /* by how much it delays those that are there, and those that will ask for what it
                                   * drives out, summed over them */
    int64_t predicted_doubt_ns;   /* by how much all this may be off because few answers were seen */
    int64_t predicted_cost_ns;    /* what predictive compares: first token + decode_weight x decode
                                   * + others_weight x others, and a draw from within the doubt */
} gotoni_candidate;

/* How a request ended. */
enum {
    GOTONI_FINISH_OK = 0,        /* answered completely */
    GOTONI_FINISH_FAILED = 1,    /* the server answered with an error or broke off */
    GOTONI_FINISH_CANCELLED = 2, /* the client went away */
    GOTONI_FINISH_NOT_SENT = 3   /* it never reached the server */
};

/* Chooses a server for `request`, reserves its place and fills *decision (set decision->struct_size first).
 * Allocates nothing once the router has seen prompts of that length (up to 131,072 blocks).
 * Errors: ARGUMENT, RANGE (prompt too long), NO_SERVER, SATURATED, CAPACITY (tickets). */
gotoni_status gotoni_route(gotoni_router *router, const gotoni_request *request, uint64_t now_ns,
                           gotoni_decision *decision);

/* Routes `count` requests in order, as so many gotoni_route calls would, saving the calls. `statuses[i]` is
 * the outcome of request i; decisions whose status is an error are left as they were. Both arrays have
 * `count` entries. Errors of the call itself: ARGUMENT, and then nothing was routed. */
gotoni_status gotoni_route_batch(gotoni_router *router, const gotoni_request *requests, size_t count,
                                 uint64_t now_ns, gotoni_decision *decisions, gotoni_status *statuses);

/* The whole table behind the decision that gotoni_route would take now, without taking it: nothing is
 * reserved and no chance is used up, so the next gotoni_route with the same arguments chooses the same row.
 * `decision` may be NULL. When no server is eligible the table is still filled and the status says why.
 * Errors: as gotoni_route without CAPACITY; BUFFER. */
gotoni_status gotoni_explain(gotoni_router *router, const gotoni_request *request, uint64_t now_ns,
                             gotoni_candidate *candidates, size_t capacity, size_t *count,
                             gotoni_decision *decision);

/* The request is being sent: its prompt is from now on expected in that server's cache.
 * Errors: TICKET, TICKET_ENDED. */
gotoni_status gotoni_commit(gotoni_router *router, uint64_t ticket, uint64_t now_ns);

/* The first token arrived: the prompt has been prefilled, the request moves from queued to running.
 * Errors: TICKET, TICKET_ENDED. */
gotoni_status gotoni_first_token(gotoni_router *router, uint64_t ticket, uint64_t now_ns);

/* The answer is still streaming. Call it now and then (each chunk is fine) on long answers, so that the
 * ticket does not count as silent. Errors: TICKET, TICKET_ENDED. */
gotoni_status gotoni_progress(gotoni_router *router, uint64_t ticket, uint64_t now_ns);

/* The request ended (GOTONI_FINISH_*). With OK its prompt counts as cached there. With any other outcome
 * before the first token, what the commit expected is withdrawn (and comes back when another open request
 * with the same beginning gives its first token there or finishes OK). Idempotent: a ticket that has ended
 * already gives GOTONI_OK and changes nothing. Errors: ARGUMENT (unknown outcome), TICKET. */
gotoni_status gotoni_finish(gotoni_router *router, uint64_t ticket, uint32_t outcome, uint64_t now_ns);

/* ===== Observations ================================================================================= */

/* A round trip time sample, in ns (0 is a fine value: a server on this host). The estimate is about the
 * smallest sample of the last rtt_window_ms plus a moving average of the excess over it: the distance, plus the
 * congestion of the moment. Errors: UNKNOWN_SERVER, RANGE (above one hour). */
gotoni_status gotoni_observe_rtt(gotoni_router *router, uint64_t id, uint64_t rtt_ns, uint64_t now_ns);

/* Which fields of gotoni_metrics are known. A field whose bit is not set is unknown, which is not zero. */
enum {
    GOTONI_METRIC_QUEUED_REQUESTS = 1,
    GOTONI_METRIC_RUNNING_REQUESTS = 2,
    GOTONI_METRIC_QUEUED_TOKENS = 4,
    GOTONI_METRIC_RUNNING_TOKENS = 8,
    GOTONI_METRIC_KV_CAPACITY_TOKENS = 16,
    GOTONI_METRIC_INCARNATION = 32,
    GOTONI_METRIC_RUNNING_LIMIT = 64
};

/* What an engine reports about itself. */
typedef struct gotoni_metrics {
    uint32_t struct_size;
    uint32_t known;               /* bits GOTONI_METRIC_* */
    uint64_t queued_requests;     /* waiting in the engine; this and the next three up to 2^40 */
    uint64_t running_requests;
    uint64_t queued_tokens;       /* prompt tokens of the waiting that are not cached, as SGLang's
                                   * num_waiting_uncached_tokens; else requests x tokens_per_request_prior */
    uint64_t running_tokens;
    uint64_t kv_capacity_tokens;  /* replaces the server's kv_capacity_tokens; 0 is out of range */
    uint64_t incarnation;         /* any number that changes when the engine restarts (its start time): a
                                   * change empties the server's prefixes */
    uint64_t running_limit;       /* most requests it runs at one time; others wait for a place. 0 is out of range */
} gotoni_metrics;

/* Takes in one poll of a server's metrics. What it reports beyond our own tickets and what others have said
 * (gotoni_observe_others) is foreign load, counted until metrics_ttl_ms later; after that, and for servers that
 * never reported, the mean foreign load of all that did is assumed. Errors: ARGUMENT, UNKNOWN_SERVER, RANGE. */
gotoni_status gotoni_observe_metrics(gotoni_router *router, uint64_t id, const gotoni_metrics *metrics,
                                     uint64_t now_ns);

/* Requests at one server, and their prompt tokens, each up to 2^40; all 0: nothing. Those of a router stand in its
 * gotoni_server_info under the same names. */
typedef struct gotoni_load {
    uint32_t struct_size;
    uint32_t reserved;            /* 0 */
    uint64_t queued_requests;     /* routed, first token not seen */
    uint64_t running_requests;    /* first token seen, not finished */
    uint64_t queued_tokens;
    uint64_t running_tokens;
    uint64_t owed_tokens;         /* of queued_tokens, those not believed cached: prefill still to be done */
} gotoni_load;

/* What other routers say that they have at this server, all together: for gateways that tell each other. It replaces what
 * was said before and counts as foreign load until metrics_ttl_ms later; of the metrics only what they report beyond it and
 * our own counts then, for both see the same requests. Leave out of the sum who has fallen silent, and say all zeros when
 * nobody is left: that nothing is there is known then, which is not unknown.
 * Errors: ARGUMENT, UNKNOWN_SERVER, RANGE (more owed than queued tokens). */
gotoni_status gotoni_observe_others(gotoni_router *router, uint64_t id, const gotoni_load *load, uint64_t now_ns);

/* The engine reported how many prompt tokens of this ticket's request it found cached (`cached_tokens` of an
 * OpenAI-style usage). Call it before gotoni_finish. If the router believed more, it trims that server's
 * claim on everything behind the reported point, then notes this prompt itself as cached.
 * Errors: TICKET, TICKET_ENDED, RANGE (more than the prompt has). */
gotoni_status gotoni_observe_cached_tokens(gotoni_router *router, uint64_t ticket, uint64_t cached_tokens,
                                           uint64_t now_ns);

/* The answer of this ticket's request has this many tokens (`completion_tokens` of a usage). Call it before gotoni_finish:
 * it makes what is learned of an engine's decoding more exact. Errors: TICKET, TICKET_ENDED. */
gotoni_status gotoni_observe_output_tokens(gotoni_router *router, uint64_t ticket, uint64_t output_tokens,
                                           uint64_t now_ns);

/* Blocks an engine says it has stored: `block_count` consecutive blocks of one prompt. The engine's own
 * block hashes are only names here; they are mapped onto the router's blocks through the tokens, so no
 * engine seed or hash function needs to be known. Hashes wider than 64 bits: pass gotoni_key of them. */
typedef struct gotoni_kv_stored {
    uint32_t struct_size;
    uint32_t block_size;          /* the engine's tokens per block; a multiple of config.block_tokens */
    uint64_t namespace_key;       /* used where has_parent is 0 */
    uint32_t has_parent;          /* 0: these blocks begin a prompt; 1: they follow parent_hash */
    uint32_t reserved;            /* 0 */
    uint64_t parent_hash;
    size_t block_count;
    const uint64_t *hashes;       /* block_count names */
    const uint32_t *tokens;       /* block_count x block_size token ids */
} gotoni_kv_stored;

/* Applies a stored event; applying it twice is harmless. UNKNOWN_PARENT means events were lost: call
 * gotoni_kv_cleared and ask the engine for a replay.
 * Errors: ARGUMENT, UNKNOWN_SERVER, BLOCK_SIZE, UNKNOWN_PARENT, RANGE, CAPACITY (budget full of newer things). */
gotoni_status gotoni_kv_stored_event(gotoni_router *router, uint64_t id, const gotoni_kv_stored *event,
                                     uint64_t now_ns);

/* Blocks an engine says it has evicted. Whatever followed them on that server is forgotten too, as no engine
 * can use it. Unknown hashes are ignored. Errors: ARGUMENT, UNKNOWN_SERVER. */
gotoni_status gotoni_kv_removed_event(gotoni_router *router, uint64_t id, const uint64_t *hashes, size_t count,
                                      uint64_t now_ns);

/* The engine emptied its cache. Errors: UNKNOWN_SERVER. */
gotoni_status gotoni_kv_cleared_event(gotoni_router *router, uint64_t id, uint64_t now_ns);

/* ===== Prefix trie ================================================================================== */

/* Direct access to the knowledge of who holds which prefix. A gateway that routes needs none of these:
 * commit and finish keep the trie. They serve warm starts, tools and other routers. */

/* Which servers hold a beginning of this prompt, longest match first (equal ones by id). servers[i] holds
 * matched_tokens[i] tokens, a multiple of block_tokens. Changes nothing. Only `tokens`, `token_count` and
 * `namespace_key` of the request are read. Errors: ARGUMENT, RANGE, BUFFER. */
gotoni_status gotoni_match(gotoni_router *router, const gotoni_request *request, uint64_t *servers,
                           uint64_t *matched_tokens, size_t capacity, size_t *count);

/* Notes that server `id` holds this prompt, as its most recent one. Errors: ARGUMENT, UNKNOWN_SERVER, RANGE,
 * CAPACITY (the budget has no room for the whole of it; a beginning may have been kept). */
gotoni_status gotoni_prefix_insert(gotoni_router *router, uint64_t id, const gotoni_request *request,
                                   uint64_t now_ns);

/* Forgets that server `id` holds anything of this prompt behind its first `keep_tokens` tokens (rounded down
 * to blocks), and whatever continues it there. keep_tokens 0 forgets the whole prompt and all that begins
 * like its first block. Errors: ARGUMENT, UNKNOWN_SERVER, RANGE. */
gotoni_status gotoni_prefix_remove(gotoni_router *router, uint64_t id, const gotoni_request *request,
                                   uint64_t keep_tokens, uint64_t now_ns);

/* Forgets all prefixes of one server (it was flushed). Errors: UNKNOWN_SERVER. */
gotoni_status gotoni_prefix_clear_server(gotoni_router *router, uint64_t id, uint64_t now_ns);

/* Forgets all prefixes of all servers. */
gotoni_status gotoni_prefix_clear(gotoni_router *router, uint64_t now_ns);

/* The shape of the trie. Lengths and depths are in tokens. */
typedef struct gotoni_prefix_stats {
    uint32_t struct_size;
    uint32_t reserved;
    uint64_t nodes;              /* including the root */
    uint64_t leaves;             /* nodes without children; the root alone is a leaf */
    uint64_t max_depth;          /* over leaves */
    double avg_depth;            /* mean over leaves */
    double avg_branching;        /* children per node that has any; 0 if none has */
    double avg_prefix_length;    /* tokens per node, the root counting with none */
    uint64_t total_server_refs;  /* sum over nodes of the servers that hold it */
    uint64_t unique_servers;     /* servers that hold anything */
    uint64_t held_tokens;        /* distinct tokens in the trie */
    uint64_t bytes;              /* memory in use of memory_budget_bytes */
    uint64_t budget_bytes;
} gotoni_prefix_stats;

/* Fills *stats (set stats->struct_size first). Walks the whole trie under the lock. For cheap polling
 * use gotoni_stats_get. Errors: ARGUMENT. */
gotoni_status gotoni_prefix_stats_get(gotoni_router *router, gotoni_prefix_stats *stats);

/* ===== Policy and tuning ============================================================================ */

/* How a server is chosen among the eligible. Ties are broken by the seeded generator. */
enum {
    GOTONI_POLICY_GORGO = 1,            /* "gorgo": lowest cost (the default):
                                         *   rtt_weight x rtt + ms_per_token x (uncached + eviction_weight x evicted
                                         *   + queued_weight x owed + running_cost_factor x in flight): uncached tokens
                                         *   of this prompt, those it drives out of a full cache, uncached ones of the
                                         *   requests that wait there, prompt tokens of all requests there */
    GOTONI_POLICY_PREFIX_TREE = 2,      /* "prefix-tree": longest match, then least load */
    GOTONI_POLICY_LEAST_LOAD = 3,       /* "least-load" (or "least-loaded"): fewest tokens queued + running, then
                                         *   fewest requests */
    GOTONI_POLICY_LEAST_REQUEST = 4,    /* "least-request": fewest requests queued + running */
    GOTONI_POLICY_SESSION_AFFINITY = 5, /* "session-affinity": rendezvous hash of session_key and server id; a
                                         *   server that leaves moves only its own sessions */
    GOTONI_POLICY_POWER_OF_TWO = 6,     /* "power-of-two": the less loaded of two drawn at random */
    GOTONI_POLICY_ROUND_ROBIN = 7,      /* "round-robin": in turn */
    GOTONI_POLICY_RANDOM = 8,           /* "random": uniformly */
    GOTONI_POLICY_PREDICTIVE = 9        /* "predictive": least predicted time, its own and others' (gotoni_candidate),
                                         *   with speeds learned from answers */
};

/* Switches the policy at run time. Errors: UNKNOWN_POLICY. */
gotoni_status gotoni_policy_set(gotoni_router *router, uint32_t policy);

/* The policy in force into *policy. Errors: ARGUMENT. */
gotoni_status gotoni_policy_get(gotoni_router *router, uint32_t *policy);

/* The policy's name; STATIC, NULL if unknown. Policies are numbered from 1 without gaps. */
const char *gotoni_policy_name(uint32_t policy);

/* The number behind a name (NUL-terminated, exact). Errors: ARGUMENT, UNKNOWN_POLICY: there is no default. */
gotoni_status gotoni_policy_from_name(const char *name, uint32_t *policy);

/* Numbers that can be turned at run time. Unit, default and bounds of each come from gotoni_knob_info_get. */
enum {
    GOTONI_KNOB_MS_PER_TOKEN = 1,            /* prefill time of one token, ms [0.094] */
    GOTONI_KNOB_RTT_WEIGHT = 2,              /* [1] */
    GOTONI_KNOB_QUEUED_WEIGHT = 3,           /* [0.5] */
    GOTONI_KNOB_RUNNING_COST_FACTOR = 4,     /* [0.1] */
    GOTONI_KNOB_RTT_PRIOR_MS = 5,            /* round trip assumed while unknown, ms [100] */
    GOTONI_KNOB_RTT_WINDOW_MS = 6,           /* how long the smallest sample counts, ms [60,000] */
    GOTONI_KNOB_RTT_EXCESS_ALPHA = 7,        /* weight of the newest excess, 0 to 1 [0.3] */
    GOTONI_KNOB_METRICS_TTL_MS = 8,          /* how long a metrics observation counts, ms [5,000] */
    GOTONI_KNOB_TOKENS_PER_REQUEST_PRIOR = 9,/* tokens of a foreign request whose size is unknown [500] */
    GOTONI_KNOB_TICKET_SILENCE_MS = 10,      /* silence after which a ticket is ended, ms [600,000] */
    GOTONI_KNOB_EVICTION_WEIGHT = 11,        /* [0.5] */
    GOTONI_KNOB_DECODE_MS = 12,              /* a whole answer alone at a server, until answers teach better, ms [3,000] */
    GOTONI_KNOB_DECODE_MS_PER_REQUEST = 13,  /* what each request beside it adds, until then, ms [100] */
    GOTONI_KNOB_DECODE_WEIGHT = 14,          /* [0.6] */
    GOTONI_KNOB_OTHERS_WEIGHT = 15,          /* [0.15] */
    GOTONI_KNOB_LEARNING = 16                /* 0: speeds stay what they are [1] */
};

typedef struct gotoni_knob_info {
    uint32_t struct_size;
    uint32_t knob;
    const char *name;        /* STATIC, such as "ms_per_token" */
    const char *unit;        /* STATIC, such as "ms/token"; "" for a plain factor */
    const char *meaning;     /* STATIC, one line */
    double default_value;
    double minimum;          /* inclusive */
    double maximum;          /* inclusive */
} gotoni_knob_info;

/* Sets a knob. Errors: UNKNOWN_KNOB, RANGE (outside its bounds, or not a number; nothing changes). */
gotoni_status gotoni_knob_set(gotoni_router *router, uint32_t knob, double value);

/* The value in force into *value. Errors: ARGUMENT, UNKNOWN_KNOB. */
gotoni_status gotoni_knob_get(gotoni_router *router, uint32_t knob, double *value);

/* Describes a knob; knobs are numbered from 1 without gaps, so count up until UNKNOWN_KNOB to list them.
 * Set info->struct_size first. Errors: ARGUMENT, UNKNOWN_KNOB. */
gotoni_status gotoni_knob_info_get(uint32_t knob, gotoni_knob_info *info);

/* The number behind a name (NUL-terminated, exact). Errors: ARGUMENT, UNKNOWN_KNOB. */
gotoni_status gotoni_knob_from_name(const char *name, uint32_t *knob);

/* ===== Tuner ======================================================================================== */

/* Looks for better weights of the policies gorgo and predictive while requests are served. It seeks goodput: the share of
 * requests whose first token and whose mean time between tokens keep within two limits; failed ones never do. Some sessions
 * are decided with other weights ("on trial"); what does better there must do better again when all are decided so by
 * turns, and then becomes the incumbent, which from time to time must stand up to the weights that were set ("home").
 * What does much worse is ended at once, and trials cost at most one request in two hundred.
 *
 * It learns from gotoni_first_token, gotoni_observe_output_tokens and gotoni_finish. gotoni_knob_get goes on to tell home. Setting a
 * policy or one of its weights begins at home anew. A snapshot carries the incumbent and what was learned. */
enum {
    GOTONI_TUNER_OFF = 0,
    GOTONI_TUNER_WARMING = 1,    /* learns what is difficult; the incumbent serves all */
    GOTONI_TUNER_COMPARING = 2,  /* a candidate beside the incumbent */
    GOTONI_TUNER_CONFIRMING = 3, /* the candidate by turns with home */
    GOTONI_TUNER_CHECKING = 4,   /* the incumbent by turns with home */
    GOTONI_TUNER_RESTING = 5,    /* trials have cost enough for now; the incumbent serves all */
    GOTONI_TUNER_FROZEN = 6,     /* the incumbent serves all, whatever comes */
    GOTONI_TUNER_FOLLOWING = 7   /* another router's incumbent serves all; nothing is tried here */
};

typedef struct gotoni_tuner_status {
    uint32_t struct_size;
    uint32_t phase;              /* GOTONI_TUNER_* */
    double first_token_limit_ms;
    double inter_token_limit_ms;
    uint64_t requests;           /* sent and ended since the start */
    uint64_t ended;
    uint64_t proposed;           /* tests begun, checks of the incumbent among them */
    uint64_t accepted;           /* candidates that became the incumbent */
    uint64_t rejected;           /* candidates that lost */
    uint64_t undecided;          /* neither better nor worse, as far as could be seen */
    uint64_t rolled_back;        /* tests ended early because of a large loss */
    uint64_t went_home;          /* incumbents that did not stand up to home any more */
    double goodput;              /* mean score of the last thousand requests, 0 to 1 */
    double spent;                /* what trials have cost, in requests that would have been good; below 0: gained */
    uint64_t rounds;             /* of the test that runs */
    double difference;           /* by which the trial is ahead in it, in goodput */
} gotoni_tuner_status;

/* One weight that is tuned. */
typedef struct gotoni_tuned_weight {
    uint32_t struct_size;
    uint32_t knob;               /* GOTONI_KNOB_* */
    double home;                 /* as it was set */
    double incumbent;
    double trial;                /* as the incumbent's if nothing is on trial */
} gotoni_tuned_weight;

/* Begins at home, or goes on from where it was frozen. Limits are in milliseconds, from 1 to 3,600,000: from being routed to
 * the first token, and between tokens from then on. Errors: ARGUMENT, RANGE, UNTUNABLE. */
gotoni_status gotoni_tune_start(gotoni_router *router, double first_token_limit_ms, double inter_token_limit_ms);

/* Serves with what another router's tuner has found, and tries nothing here: of several routers for the same servers one tunes, the
 * others follow. `weights` are as gotoni_tune_weights of that one gives them; their incumbents count, within a factor of 16 of
 * what is set here, which stays home. It ends with a start, which goes on from them, a rollback, or when the policy or one of its
 * weights is set. Errors: ARGUMENT, RANGE (also a weight that is not above 0), UNKNOWN_KNOB, UNTUNABLE (also a weight that is not
 * tuned here). */
gotoni_status gotoni_tune_follow(gotoni_router *router, double first_token_limit_ms, double inter_token_limit_ms,
                                 const gotoni_tuned_weight *weights, size_t count);

/* The incumbent serves all from now on, until the tuner is started again. Errors: ARGUMENT. */
gotoni_status gotoni_tune_freeze(gotoni_router *router);

/* Home serves all from now on, until the tuner is started again. Errors: ARGUMENT. */
gotoni_status gotoni_tune_rollback(gotoni_router *router);

/* Fills *status (set status->struct_size first). Errors: ARGUMENT. */
gotoni_status gotoni_tune_status(gotoni_router *router, gotoni_tuner_status *status);

/* The weights that are tuned, none while the tuner is off. Set weights[0].struct_size first. Errors: ARGUMENT, BUFFER. */
gotoni_status gotoni_tune_weights(
    gotoni_router *router, gotoni_tuned_weight *weights, size_t capacity, size_t *count);

/* ===== Statistics =================================================================================== */

/* Counters since the router was made, and a few present values. Cheap: no walk. */
typedef struct gotoni_stats {
    uint32_t struct_size;
    uint32_t servers;             /* now */
    uint64_t open_tickets;        /* now */
    uint64_t routed;              /* decisions made */
    uint64_t refused;             /* route calls answered NO_SERVER, SATURATED or CAPACITY */
    uint64_t committed;
    uint64_t finished_ok;
    uint64_t finished_failed;
    uint64_t finished_cancelled;
    uint64_t finished_not_sent;
    uint64_t expired;             /* tickets ended for silence: some caller forgets to finish */
    uint64_t orphaned;            /* tickets ended because their server was removed */
    uint64_t prompt_tokens;       /* of routed requests */
    uint64_t matched_tokens;      /* of these, believed cached on the chosen server */
    uint64_t evicted_tokens_capacity; /* forgotten because a server's KV capacity was full */
    uint64_t evicted_tokens_budget;   /* forgotten because memory_budget_bytes was full */
    uint64_t truncated_inserts;   /* prompts of which only a beginning fitted, or nothing */
    uint64_t bytes;               /* now, of memory_budget_bytes */
    uint64_t budget_bytes;
    uint64_t random_draws;        /* how often chance decided */
} gotoni_stats;

/* Fills *stats (set stats->struct_size first). Errors: ARGUMENT. */
gotoni_status gotoni_stats_get(gotoni_router *router, gotoni_stats *stats);

/* ===== Snapshot ===================================================================================== */

/* A snapshot carries what would be slow to learn again: servers, round trip times, policy, knobs, the
 * generator's state, the whole prefix trie with its order of use, and the speeds learned from answers with
 * what they are computed from. It leaves out tickets (requests die with their process), counters, metrics and
 * the KV-event names. Format: little-endian, versioned, checked by XXH3-64. It is portable between machines;
 * load one only from where you would load a program from. The version before, 2, has no learned speeds; it is
 * read too, and speeds are then learned again. */

/* Writes a snapshot into `buffer`. *size receives the bytes needed, also when they do not fit (BUFFER), so
 * a NULL buffer of capacity 0 asks for the size.
 * Takes time in proportion to the trie, under the lock. Errors: ARGUMENT, BUFFER, MEMORY. */
gotoni_status gotoni_snapshot_save(gotoni_router *router, void *buffer, size_t capacity, size_t *size);

/* Replaces the router's state by a snapshot. Open tickets end (finishing them later is GOTONI_OK). The
 * router must have the same block_tokens. On any error the router is as it was; damaged or hostile bytes are
 * an error, never a crash. Errors: ARGUMENT, SNAPSHOT, SNAPSHOT_VERSION, CAPACITY (does not fit the
 * configured bounds), MEMORY. Times are not carried over: the new process may have another clock. */
gotoni_status gotoni_snapshot_load(gotoni_router *router, const void *buffer, size_t size, uint64_t now_ns);

#ifdef __cplusplus
}
#endif

#endif /* GOTONI_H */
