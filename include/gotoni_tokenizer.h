/*
 * gotoni_tokenizer - a model's own token ids, as a library beside libgotoni.
 *
 * gotoni_route takes a prompt as token ids. This library makes them from text, exactly as Hugging Face's
 * `tokenizers` does, for byte-level BPE: GPT-2, Llama 3, Qwen, DeepSeek, Mistral's tekken and their kin. It is
 * a library of its own because it needs more than libgotoni does: libpcre2-8, libsimdjson, libutf8proc.
 *
 *     gotoni_tokenizer *tokenizer = NULL;
 *     const char *why = NULL;
 *     gotoni_tokenizer_create(json, json_size, GOTONI_TOKENIZER_HUGGING_FACE, NULL, 0, 0, &tokenizer, &why);
 *     size_t count = 0;
 *     gotoni_tokenizer_encode(tokenizer, text, text_size, 0, ids, capacity, &count);
 *     gotoni_tokenizer_destroy(tokenizer);
 *
 * Threads     Any function may be called from any thread at any time on the same tokenizer, except
 *             gotoni_tokenizer_destroy, which must be the last call and overlap no other.
 * Ownership   Pointers you pass are borrowed until the call returns, results are copied into your memory,
 *             strings that come back are static. You free one thing: the tokenizer.
 * Arrays out  Pass a capacity; `*count` receives how many ids there are. If they do not fit, nothing is written
 *             and GOTONI_TOKENIZER_E_BUFFER comes back: grow the array and call again. A text has at most as
 *             many ids as bytes once it is normalized, and the model's few around a prompt. Capacity 0 with a NULL array asks for the
 *             count alone.
 * Nothing     No callbacks, no threads, no input or output, no environment variables. No error crosses as a
 * hidden      crash: hostile values are answered by a negative status.
 */
#ifndef GOTONI_TOKENIZER_H
#define GOTONI_TOKENIZER_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct gotoni_tokenizer gotoni_tokenizer;

/* 0, or what went wrong. */
typedef int32_t gotoni_tokenizer_status;
enum {
    GOTONI_TOKENIZER_OK = 0,
    GOTONI_TOKENIZER_E_FORMAT = -1,      /* the file is not what it should be */
    GOTONI_TOKENIZER_E_UNSUPPORTED = -2, /* a model that cannot be followed exactly; the service can */
    GOTONI_TOKENIZER_E_UTF8 = -3,        /* the text is not UTF-8 */
    GOTONI_TOKENIZER_E_TOO_LONG = -4,    /* a text beyond 256 MiB, or a word in it beyond 256 KiB */
    GOTONI_TOKENIZER_E_PATTERN = -5,     /* the model's pattern needs too many steps for this text */
    GOTONI_TOKENIZER_E_MEMORY = -6,
    GOTONI_TOKENIZER_E_ARGUMENT = -7,    /* a pointer is NULL, or a value unknown */
    GOTONI_TOKENIZER_E_BUFFER = -8       /* the array is too small; *count says how large it must be */
};

/* What happened, in a static sentence; never NULL. */
const char *gotoni_tokenizer_status_text(gotoni_tokenizer_status status);

/* What a vocabulary is written in. */
enum {
    GOTONI_TOKENIZER_HUGGING_FACE = 0,  /* tokenizer.json */
    GOTONI_TOKENIZER_TEKKEN = 1,        /* Mistral's tekken.json */
    GOTONI_TOKENIZER_QWEN_TIKTOKEN = 2  /* qwen.tiktoken */
};

/*
 * Reads a vocabulary, the whole file, and the tokenizer_config.json beside it, or NULL. `cache_bytes` is the most
 * memory for messages lately seen, 0 for 64 MiB. `why`, if not NULL, receives a static sentence that says more than
 * the status, or NULL. Takes some 0.1 s. Errors: ARGUMENT, FORMAT, UNSUPPORTED, MEMORY.
 */
gotoni_tokenizer_status gotoni_tokenizer_create(
    const uint8_t *file, size_t file_size, int32_t format, const uint8_t *config, size_t config_size,
    uint64_t cache_bytes, gotoni_tokenizer **out, const char **why);

/* NULL is allowed. */
void gotoni_tokenizer_destroy(gotoni_tokenizer *tokenizer);

/* With the tokens that the model wants around a prompt: its first token mostly. */
#define GOTONI_TOKENIZER_ADD_SPECIAL_TOKENS 1u

/*
 * The ids of a text. Special tokens are recognised in it, as engines do with a rendered prompt.
 * Errors: ARGUMENT, UTF8, TOO_LONG, PATTERN, MEMORY, BUFFER.
 */
gotoni_tokenizer_status gotoni_tokenizer_encode(
    gotoni_tokenizer *tokenizer, const char *text, size_t text_size, uint32_t flags, uint32_t *ids, size_t capacity,
    size_t *count);

/* The id of a token by its bytes or, of a special one, its text; UINT32_MAX if there is none. */
uint32_t gotoni_tokenizer_id(gotoni_tokenizer *tokenizer, const char *token, size_t token_size);

#ifdef __cplusplus
}
#endif
#endif
