/* Fields of an object by name. */
#pragma once
#include <string_view>

#include "document.hpp"

namespace gotoni {

constexpr size_t longest_name = 24;

/* The key at `p`, unescaped into `buffer` if it has to be; empty if it is longer than any name. */
inline std::string_view key_name(const Document &document, Document::Position p, uint8_t (&buffer)[6 * longest_name]) {
    Slice inside = document.inside(p);
    if (inside.size() > sizeof buffer) return {};
    std::string_view name(reinterpret_cast<const char *>(inside.begin), inside.size());
    if (name.find('\\') == name.npos) return name;
    uint8_t *end = unescape(inside, buffer);
    return end ? std::string_view(reinterpret_cast<const char *>(buffer), size_t(end - buffer)) : std::string_view();
}

/* Where the values of the named fields are; `none` where there is no such field. Of a key that is there twice the last
 * counts, as in Python's and therefore the engines' readers. */
template <size_t N>
void find_fields(
    const Document &document, Document::Position object, const std::string_view (&names)[N],
    Document::Position (&values)[N]) {
    for (auto &value : values) value = Document::none;
    if (!document.is_object(object)) return;
    document.fields(object, [&](Document::Position key, Document::Position value) {
        uint8_t buffer[6 * longest_name];
        std::string_view name = key_name(document, key, buffer);
        for (size_t i = 0; i < N; i += 1) {
            if (names[i] == name) values[i] = value;
        }
    });
}

}  // namespace gotoni
