/*
 * Bytes that grow geometrically, and what is written of a prompt.
 *
 * A prompt becomes one run of bytes, and 4 of them are one token, little-endian: the buffer of the text is the buffer
 * of the tokens. Text is UTF-8, so the byte 0xFF, which UTF-8 never has, marks where something else begins; a letter
 * behind it says what:
 *
 *   F  tools, as raw JSON            M  a message or item: its role, or else its type
 *   N  name                          I  tool_call_id or call_id
 *   R  reasoning                     C  content
 *   T  tool calls, as raw JSON       A  arguments
 *   O  output of a tool              J  anything else, as raw JSON
 *   X  an image, a sound or a file: a digest of its JSON, repeated to a fixed length
 */
#pragma once
#include "document.hpp"

namespace gotoni {

/* What stands for an image, a sound or a file: 256 tokens, whatever its base64 is long. */
constexpr size_t media_bytes = 1024;
/* Beyond so many in one body each counts only `media_marker_bytes`: a small body must not ask for much memory. */
constexpr size_t most_media = 4096;
constexpr size_t media_marker_bytes = 16;
/* Raw JSON of unknown kind that is longer stands for a file. */
constexpr size_t most_unknown_bytes = 4096;

class Writer {
public:
    Writer() = default;
    Writer(const Writer &) = delete;
    ~Writer();

    /* The first error; nothing is written after it. */
    int32_t status = GOTONI_JSON_OK;

    const uint8_t *bytes() const { return memory; }
    size_t size() const { return used; }
    size_t room() const { return capacity; }
    void clear();
    /* Gives the memory back. */
    void release();

    void mark(char kind);
    void raw(Slice slice);
    /* The unescaped string at `p`. */
    void text(const Document &document, Document::Position p);
    /* A string's text; of anything else its raw JSON. */
    void text_or_raw(const Document &document, Document::Position p);
    void media(Slice raw_json);
    /* Raw JSON of a kind we do not know. */
    void unknown(Slice raw_json);
    void token(uint32_t id);
    /* Zeros up to a whole token. */
    void pad();

private:
    /* Room for `size` bytes more; NULL, with the status set, if there is none. */
    uint8_t *reserve(size_t size);

    uint8_t *memory = nullptr;
    size_t used = 0, capacity = 0, media_count = 0;
};

}  // namespace gotoni
