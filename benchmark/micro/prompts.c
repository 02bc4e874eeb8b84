#include "micro.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* SplitMix64: small, seedable, good enough for token ids. */
static uint64_t next_random(uint64_t *state) {
    uint64_t z = (*state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fill(uint32_t *tokens, size_t count, uint64_t *state) {
    for (size_t i = 0; i < count; i++) tokens[i] = (uint32_t)(next_random(state) % VOCABULARY);
}

prompts prompts_make(size_t tokens, uint32_t first_serial) {
    uint64_t state = 20261;
    prompts set = {tokens, tokens * SHARED_PERCENT / 100, NULL, first_serial};
    set.text = checked_alloc(GROUPS * tokens * sizeof *set.text);
    fill(set.text, GROUPS * tokens, &state);
    return set;
}

void prompts_free(prompts *set) {
    free(set->text);
    set->text = NULL;
}

gotoni_request prompts_next(prompts *set) {
    uint32_t *prompt = set->text + set->serial % GROUPS * set->tokens;
    prompt[set->shared] = set->serial++;
    gotoni_request request = {.struct_size = sizeof request, .tokens = prompt, .token_count = set->tokens};
    return request;
}

void prompts_write(const char *path, size_t tokens, size_t count) {
    prompts set = prompts_make(tokens, 0);
    uint64_t state = 20262;
    uint32_t *prompt = checked_alloc(tokens * sizeof *prompt);
    FILE *file = fopen(path, "wb");
    if (!file) fail("cannot write the prompt file");
    for (size_t i = 0; i < count; i++) {
        memcpy(prompt, set.text + i % GROUPS * tokens, set.shared * sizeof *prompt);
        fill(prompt + set.shared, tokens - set.shared, &state);
        if (fwrite(prompt, sizeof *prompt, tokens, file) != tokens) fail("cannot write the prompt file");
    }
    if (fclose(file)) fail("cannot write the prompt file");
    free(prompt);
    prompts_free(&set);
}
