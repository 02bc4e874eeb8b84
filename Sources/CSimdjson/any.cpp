#include <new>

#include "document.hpp"

using namespace gotoni;

struct gotoni_json_document {
    Document document;
    /* The string last asked for, if it had escapes. */
    std::unique_ptr<uint8_t[]> unescaped;
    size_t room = 0;
};

extern "C" gotoni_json_document *gotoni_json_document_create(void) {
    return new (std::nothrow) gotoni_json_document;
}

extern "C" void gotoni_json_document_destroy(gotoni_json_document *document) { delete document; }

extern "C" int32_t gotoni_json_document_read(gotoni_json_document *document, const uint8_t *bytes, size_t size) {
    int32_t status = document->document.read(bytes, size);
    if (status) document->document.shrink(0);
    return status;
}

extern "C" uint8_t gotoni_json_kind(const gotoni_json_document *document, gotoni_json_position value) {
    return document->document.at(value);
}

extern "C" gotoni_json_position gotoni_json_first(
    const gotoni_json_document *document, gotoni_json_position container) {
    const Document &json = document->document;
    if (!json.is_array(container) && !json.is_object(container)) return Document::none;
    uint8_t first = json.at(container + 1);
    return first == ']' || first == '}' ? Document::none : container + 1;
}

extern "C" gotoni_json_position gotoni_json_next(const gotoni_json_document *document, gotoni_json_position value) {
    const Document &json = document->document;
    Document::Position after = json.skip(value);
    return json.at(after) == ',' ? after + 1 : Document::none;
}

extern "C" gotoni_json_text gotoni_json_string(gotoni_json_document *document, gotoni_json_position value) {
    if (!document->document.is_string(value)) return {nullptr, 0};
    Slice inside = document->document.inside(value);
    const uint8_t *escape = inside.begin;
    while (escape < inside.end && *escape != '\\') escape += 1;
    if (escape == inside.end) return {inside.begin, inside.size()};
    if (document->room < inside.size()) {
        document->unescaped.reset(new (std::nothrow) uint8_t[inside.size()]);
        document->room = document->unescaped ? inside.size() : 0;
        if (!document->unescaped) return {nullptr, 0};
    }
    uint8_t *end = unescape(inside, document->unescaped.get());
    if (!end) return {nullptr, 0};
    return {document->unescaped.get(), size_t(end - document->unescaped.get())};
}

extern "C" bool gotoni_json_whole(const gotoni_json_document *document, gotoni_json_position value, uint64_t *out) {
    return document->document.whole(value, 0, *out);
}

extern "C" bool gotoni_json_is_utf8(const uint8_t *bytes, size_t size) {
    return size == 0 || simdjson::validate_utf8(reinterpret_cast<const char *>(bytes), size);
}
