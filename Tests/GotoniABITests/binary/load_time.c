/* Prints how long dlopen of the named library takes in this fresh process, in microseconds. */
#define _POSIX_C_SOURCE 200809L
#include <dlfcn.h>
#include <stdio.h>
#include <time.h>

int main(int count, char **arguments) {
    struct timespec before, after;
    clock_gettime(CLOCK_MONOTONIC, &before);
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW | RTLD_LOCAL) : NULL;
    clock_gettime(CLOCK_MONOTONIC, &after);
    if (library == NULL) {
        fprintf(stderr, "%s\n", count == 2 ? dlerror() : "usage: load_time LIBRARY");
        return 1;
    }
    printf("%ld\n", (long)(after.tv_sec - before.tv_sec) * 1000000 + (after.tv_nsec - before.tv_nsec) / 1000);
    return 0;
}
