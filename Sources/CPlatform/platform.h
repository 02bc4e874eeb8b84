/*
 * The four things GotoniCore asks of libc: zeroed memory, and a mutex.
 *
 * Embedded Swift cannot import Glibc, so they come through this header, in both modes.
 */
#ifndef GOTONI_PLATFORM_H
#define GOTONI_PLATFORM_H

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>

/* Zeroed memory, aligned for anything; NULL when there is none. Large areas cost address space only until
 * they are touched. */
static inline void *gotoni_platform_allocate(size_t count, size_t size) { return calloc(count, size); }
static inline void gotoni_platform_free(void *memory) { free(memory); }

/* An adaptive mutex spins a little before it sleeps: critical sections here last about a microsecond. */
static inline int gotoni_platform_mutex_init(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attributes;
    if (pthread_mutexattr_init(&attributes) != 0) return -1;
#ifdef __GLIBC__
    pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ADAPTIVE_NP);
#endif
    int result = pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
    return result;
}

#endif
