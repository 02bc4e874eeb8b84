/* malloc and its kin, defined here so that the dynamic linker hands them to the library too. They forward to
 * glibc's own entry points. mmap counts as well: memory taken past malloc is still memory taken.
 * Counting is switched on only while one thread runs. */
#define _GNU_SOURCE
#include "micro.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static volatile int counting;
static volatile uint64_t calls;

static void note(void) {
    if (counting) calls++;
}

void heap_count_begin(void) {
    calls = 0;
    counting = 1;
}

uint64_t heap_count_end(void) {
    counting = 0;
    return calls;
}

void *malloc(size_t size) {
    note();
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    note();
    return __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size) {
    note();
    return __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

void *memalign(size_t alignment, size_t size) {
    note();
    return __libc_memalign(alignment, size);
}

int posix_memalign(void **out, size_t alignment, size_t size) {
    note();
    void *memory = __libc_memalign(alignment, size);
    if (!memory) return ENOMEM;
    *out = memory;
    return 0;
}

void *mmap(void *address, size_t length, int protection, int flags, int file, off_t offset) {
    note();
    return (void *)syscall(SYS_mmap, address, length, protection, flags, file, offset);
}
