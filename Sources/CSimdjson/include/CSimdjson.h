/*
 * Request bodies read with simdjson: what GotoniEngines.BodyReader asks for, behind C types.
 *
 * A reader belongs to one thread at a time. No exception and no trap leaves these functions. What `read` points to
 * lies in the reader and is valid until the next `read` or `destroy`.
 */
#ifndef GOTONI_CSIMDJSON_H
#define GOTONI_CSIMDJSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Deepest nesting of a body, and its largest size in bytes. */
enum { GOTONI_JSON_DEPTH = 1024 };
#define GOTONI_JSON_LARGEST ((size_t)1 << 30)

/* What `read` returns: 0 or why the body is refused. Equal to GotoniEngines.BodyError. */
enum {
    GOTONI_JSON_OK = 0,
    GOTONI_JSON_SYNTAX = 1,
    GOTONI_JSON_UTF8 = 2,
    GOTONI_JSON_DEEP = 3,
    GOTONI_JSON_TOKEN_ID = 4,
    GOTONI_JSON_TOO_LARGE = 5,
    GOTONI_JSON_MEMORY = 6
};

/* Equal to GotoniEngines.Endpoint. */
enum {
    GOTONI_JSON_CHAT = 0,
    GOTONI_JSON_COMPLETIONS = 1,
    GOTONI_JSON_RESPONSES = 2,
    GOTONI_JSON_EMBEDDINGS = 3,
    GOTONI_JSON_GENERATE = 4
};

/* Bytes of a field, unescaped; size 0: absent or empty. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
} gotoni_json_text;

/* What a body says. */
typedef struct {
    const uint32_t *tokens;
    size_t token_count;
    gotoni_json_text model, adapter, salt, session;
    int64_t priority;
    int64_t max_output_tokens; /* -1: none */
    size_t sequences;
    bool exact, streams, wants_usage;
} gotoni_json_body;

typedef struct gotoni_json_reader gotoni_json_reader;

/* NULL when there is no memory. */
gotoni_json_reader *gotoni_json_create(void);
void gotoni_json_destroy(gotoni_json_reader *reader);

/* Reads one body, which is only borrowed and needs no padding. After an error *out is all zero. */
int32_t gotoni_json_read(
    gotoni_json_reader *reader, const uint8_t *body, size_t size, uint32_t endpoint, gotoni_json_body *out);

#ifdef __cplusplus
}
#endif
#endif
