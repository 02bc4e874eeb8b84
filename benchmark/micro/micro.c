/* The command line. bench.py is the usual caller; `micro` alone lists what there is. */
#include "micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char usage[] =
    "micro prompts FILE TOKENS COUNT                   write prompts\n"
    "micro rows FILE TOKENS SERVERS WARMED TIMED       route + commit, one thread\n"
    "micro match CALLS                                 match, 8 threads\n"
    "micro contention CALLS                            route + commit + finish, 1 and 8 threads\n"
    "micro allocations CALLS                           heap allocations in steady state\n"
    "micro memory TOKENS HELD_TOKENS                   bytes per token held\n"
    "micro many-servers CALLS                          route among 10,000 servers\n"
    "micro floor TOKENS                                block hashing alone\n";

int main(int argc, char **argv) {
    if (gotoni_abi_version() != GOTONI_ABI_VERSION) fail("library and header have different ABI numbers");
    const char *name = argc > 1 ? argv[1] : "";
    int takes_file = !strcmp(name, "prompts") || !strcmp(name, "rows");
    int first = takes_file ? 3 : 2;
    int given = argc - first;
    unsigned long long n[4] = {0, 0, 0, 0};
    for (int i = 0; i < given && i < 4; i++) n[i] = strtoull(argv[first + i], NULL, 10);

    if (!strcmp(name, "prompts") && given == 2) prompts_write(argv[2], n[0], n[1]);
    else if (!strcmp(name, "rows") && given == 4) measure_rows(argv[2], n[0], (uint32_t)n[1], n[2], n[3]);
    else if (!strcmp(name, "match") && given == 1) measure_match(n[0]);
    else if (!strcmp(name, "contention") && given == 1) measure_contention(n[0]);
    else if (!strcmp(name, "allocations") && given == 1) measure_allocations(n[0]);
    else if (!strcmp(name, "memory") && given == 2) measure_memory(n[0], n[1]);
    else if (!strcmp(name, "many-servers") && given == 1) measure_many_servers(n[0]);
    else if (!strcmp(name, "floor") && given == 1) measure_floor(n[0]);
    else {
        fputs(usage, stderr);
        return 2;
    }
    return 0;
}
