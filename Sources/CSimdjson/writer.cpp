#include "writer.hpp"

#include <cstdlib>
#include <cstring>

/* Inlined, so that this target needs the header alone. */
#define XXH_INLINE_ALL
#include <xxhash.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the buffer is read as little-endian tokens");

namespace gotoni {

Writer::~Writer() { free(memory); }

void Writer::clear() {
    status = GOTONI_JSON_OK;
    used = 0;
    media_count = 0;
}

void Writer::release() {
    clear();
    free(memory);
    memory = nullptr;
    capacity = 0;
}

uint8_t *Writer::reserve(size_t size) {
    if (status) return nullptr;
    if (capacity - used < size) {
        size_t larger = capacity < 4096 ? 4096 : capacity * 2;
        while (larger - used < size) larger *= 2;
        void *moved = realloc(memory, larger);
        if (!moved) {
            status = GOTONI_JSON_MEMORY;
            return nullptr;
        }
        memory = static_cast<uint8_t *>(moved);
        capacity = larger;
    }
    return memory + used;
}

void Writer::mark(char kind) {
    if (uint8_t *out = reserve(2)) {
        out[0] = 0xFF;
        out[1] = uint8_t(kind);
        used += 2;
    }
}

void Writer::raw(Slice slice) {
    uint8_t *out = reserve(slice.size());
    if (!out) return;
    memcpy(out, slice.begin, slice.size());
    used += slice.size();
}

void Writer::text(const Document &document, Document::Position p) {
    Slice inside = document.inside(p);
    uint8_t *out = reserve(inside.size());
    if (!out) return;
    uint8_t *end = unescape(inside, out);
    if (end) {
        used += size_t(end - out);
    } else {
        status = GOTONI_JSON_SYNTAX;
    }
}

void Writer::text_or_raw(const Document &document, Document::Position p) {
    if (document.is_string(p)) {
        text(document, p);
    } else {
        raw(document.raw(p));
    }
}

void Writer::media(Slice raw_json) {
    mark('X');
    size_t size = media_count < most_media ? media_bytes : media_marker_bytes;
    uint8_t *out = reserve(size - 2);
    if (!out) return;
    uint64_t digest = XXH3_64bits(raw_json.begin, raw_json.size());
    for (size_t i = 0; i < size - 2; i += 1) out[i] = uint8_t(digest >> (i % 8 * 8));
    used += size - 2;
    media_count += 1;
}

void Writer::unknown(Slice raw_json) {
    if (raw_json.size() > most_unknown_bytes) {
        media(raw_json);
    } else {
        mark('J');
        raw(raw_json);
    }
}

void Writer::token(uint32_t id) {
    if (uint8_t *out = reserve(4)) {
        memcpy(out, &id, 4);
        used += 4;
    }
}

void Writer::pad() {
    size_t zeros = (4 - used % 4) % 4;
    if (uint8_t *out = reserve(zeros)) {
        memset(out, 0, zeros);
        used += zeros;
    }
}

}  // namespace gotoni
