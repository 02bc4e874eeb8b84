/*
 * JSON read with simdjson, behind C types: any document, and the bodies of requests as GotoniEngines.BodyReader asks for
 * them.
 *
 * A document or reader belongs to one thread at a time. No exception and no trap leaves these functions. What `read`
 * points to lies in the reader and is valid until the next `read` or `destroy`.
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

/* ----- Any document --------------------------------------------------------------------------------------------- */

/* Bytes of a string, unescaped. */
typedef struct {
    const uint8_t *bytes;
    size_t size;
} gotoni_json_text;

typedef struct gotoni_json_document gotoni_json_document;

/* Where a value begins. */
typedef uint32_t gotoni_json_position;
#define GOTONI_JSON_NONE UINT32_MAX

/* NULL when there is no memory. */
gotoni_json_document *gotoni_json_document_create(void);
void gotoni_json_document_destroy(gotoni_json_document *document);

/* Checks a text whose root is an object; its position is 0. The bytes are borrowed as long as positions are used.
 * Returns GOTONI_JSON_OK or why not; then there are no positions. */
int32_t gotoni_json_document_read(gotoni_json_document *document, const uint8_t *bytes, size_t size);

/* The first byte of the value: '{', '[', '"', 't', 'f', 'n', '-' or a digit; 0 for GOTONI_JSON_NONE. */
uint8_t gotoni_json_kind(const gotoni_json_document *document, gotoni_json_position value);

/* The first element of an array or the first key of an object, then the next one; GOTONI_JSON_NONE at the end. A key's
 * value is two behind it, and `next` of an object takes that value. */
gotoni_json_position gotoni_json_first(const gotoni_json_document *document, gotoni_json_position container);
gotoni_json_position gotoni_json_next(const gotoni_json_document *document, gotoni_json_position value);

/* A string, valid until the next call with this document; size 0 for anything else. */
gotoni_json_text gotoni_json_string(gotoni_json_document *document, gotoni_json_position value);

bool gotoni_json_is_utf8(const uint8_t *bytes, size_t size);

/* A whole number of at most 18 digits; false for anything else. */
bool gotoni_json_whole(const gotoni_json_document *document, gotoni_json_position value, uint64_t *out);

/* ----- Bodies of requests --------------------------------------------------------------------------------------- */

/* Equal to GotoniEngines.Endpoint. */
enum {
    GOTONI_JSON_CHAT = 0,
    GOTONI_JSON_COMPLETIONS = 1,
    GOTONI_JSON_RESPONSES = 2,
    GOTONI_JSON_EMBEDDINGS = 3,
    GOTONI_JSON_GENERATE = 4,
    /* No request: what a `/tokenize` answers. */
    GOTONI_JSON_TOKENIZED = 5
};

/* What a body says. Of a text size 0: absent or empty. */
typedef struct {
    const uint32_t *tokens;
    size_t token_count;
    gotoni_json_text model, adapter, salt, session;
    int64_t priority;
    int64_t max_output_tokens; /* -1: none */
    size_t sequences;
    bool exact, streams, wants_usage;
    /* The one prompt as it is written in `tokens`, without the zeros behind it; size 0 if there are several, or ids. */
    gotoni_json_text prompt;
    /* It is a conversation, as writer.hpp has it, and what is asked of its template. */
    bool conversation;
    uint8_t template_wishes;
} gotoni_json_body;

/* Of a conversation's template: nothing; `enable_thinking` true or false; something else. */
enum {
    GOTONI_JSON_WISHES_NOTHING = 0,
    GOTONI_JSON_WISHES_THINKING = 1,
    GOTONI_JSON_WISHES_NO_THINKING = 2,
    GOTONI_JSON_WISHES_MORE = 3
};

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
