#include "document.hpp"

#include <cstring>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

namespace gotoni {

int32_t Document::read(const uint8_t *bytes, size_t length) {
    body = bytes;
    size = length;
    count = 0;
    if (length > GOTONI_JSON_LARGEST) return GOTONI_JSON_TOO_LARGE;
    if (length == 0) return GOTONI_JSON_SYNTAX;
    size_t capacity = 1 << 16;
    while (capacity < length) capacity *= 2;
    simdjson::error_code error = simdjson::SUCCESS;
    if (!parser) {
        error = simdjson::get_active_implementation()->create_dom_parser_implementation(capacity, 1, parser);
    } else if (parser->capacity() < length) {
        error = parser->set_capacity(capacity);
    }
    if (error) {
        parser.reset();
        return GOTONI_JSON_MEMORY;
    }
    error = parser->stage1(bytes, length, simdjson::stage1_mode::regular);
    if (error == simdjson::UTF8_ERROR) return GOTONI_JSON_UTF8;
    if (error) return GOTONI_JSON_SYNTAX;
    marks = parser->structural_indexes.get();
    count = parser->n_structural_indexes;
    return check();
}

void Document::shrink(size_t most) {
    count = 0;
    if (parser && parser->capacity() > most) parser.reset();
}

/* One pass over the marks: the grammar of JSON, without recursion. */
int32_t Document::check() const {
    uint64_t is_object[GOTONI_JSON_DEPTH / 64];
    size_t depth = 0;
    Position p = 0;
    if (at(0) != '{') return GOTONI_JSON_SYNTAX;

    auto inside_object = [&] { return (is_object[(depth - 1) / 64] >> ((depth - 1) % 64) & 1) != 0; };
    for (;;) {
        /* A value begins at p. */
        uint8_t first = at(p);
        if (first == '{' || first == '[') {
            if (depth == GOTONI_JSON_DEPTH) return GOTONI_JSON_DEEP;
            uint64_t bit = uint64_t(1) << (depth % 64);
            uint64_t &word = is_object[depth / 64];
            word = first == '{' ? word | bit : word & ~bit;
            depth += 1;
            p += 1;
            if (at(p) != first + 2) { /* '}' is '{' + 2, and ']' is '[' + 2 */
                if (first == '{') {
                    if (at(p) != '"' || !is_scalar(p) || at(p + 1) != ':') return GOTONI_JSON_SYNTAX;
                    p += 2;
                }
                continue;
            }
        } else {
            if (!is_scalar(p)) return GOTONI_JSON_SYNTAX;
            p += 1;
        }
        /* A value ended before p, or an empty container ends at it. */
        for (;;) {
            bool object = inside_object();
            uint8_t next = at(p);
            p += 1;
            if (next == ',') {
                if (object) {
                    if (at(p) != '"' || !is_scalar(p) || at(p + 1) != ':') return GOTONI_JSON_SYNTAX;
                    p += 2;
                }
                break;
            }
            if (next != (object ? '}' : ']')) return GOTONI_JSON_SYNTAX;
            depth -= 1;
            if (depth == 0) return p == count ? GOTONI_JSON_OK : GOTONI_JSON_SYNTAX;
        }
    }
}

Slice Document::extent(Position p) const {
    const uint8_t *begin = body + marks[p];
    const uint8_t *end = p + 1 < count ? body + marks[p + 1] : body + size;
    while (end > begin && (end[-1] == ' ' || end[-1] == '\n' || end[-1] == '\r' || end[-1] == '\t')) end -= 1;
    return {begin, end};
}

static bool is_digit(uint8_t c) { return c >= '0' && c <= '9'; }

static bool is_number_text(Slice text) {
    const uint8_t *p = text.begin, *end = text.end;
    auto digits = [&] {
        const uint8_t *start = p;
        while (p < end && is_digit(*p)) p += 1;
        return p > start;
    };
    if (p < end && *p == '-') p += 1;
    if (p < end && *p == '0') {
        p += 1;
    } else if (!digits()) {
        return false;
    }
    if (p < end && *p == '.') {
        p += 1;
        if (!digits()) return false;
    }
    if (p < end && (*p == 'e' || *p == 'E')) {
        p += 1;
        if (p < end && (*p == '+' || *p == '-')) p += 1;
        if (!digits()) return false;
    }
    return p == end;
}

bool Document::is_scalar(Position p) const {
    if (p + 1 >= count) return false;
    /* Lists of token ids are long. */
    const uint8_t *digit = body + marks[p], *next = body + marks[p + 1];
    if (*digit >= '1' && *digit <= '9') {
        while (digit < next && is_digit(*digit)) digit += 1;
        if (digit == next) return true;
    }
    Slice text = extent(p);
    auto is = [&](const char *word) {
        return text.size() == strlen(word) && memcmp(text.begin, word, text.size()) == 0;
    };
    switch (text.size() == 0 ? 0 : *text.begin) {
        case '"': return text.size() >= 2 && text.end[-1] == '"';
        case 't': return is("true");
        case 'f': return is("false");
        case 'n': return is("null");
        default: return is_number_text(text);
    }
}

Document::Position Document::skip_container(Position p) const {
    size_t depth = 0;
    do {
        uint8_t c = at(p);
        if (c == '{' || c == '[') depth += 1;
        if (c == '}' || c == ']') depth -= 1;
        p += 1;
    } while (depth > 0 && p < count);
    return p;
}

Slice Document::raw(Position p) const {
    uint8_t first = at(p);
    if (first != '{' && first != '[') return extent(p);
    return {body + marks[p], body + marks[skip(p) - 1] + 1};
}

Slice Document::inside(Position p) const {
    Slice text = extent(p);
    return {text.begin + 1, text.end - 1};
}

/* ----- Escapes ------------------------------------------------------------------------------------------------ */

static int hex_digit(uint8_t c) {
    if (is_digit(c)) return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits at `p`, or -1. */
static int32_t code_unit(const uint8_t *p, const uint8_t *end) {
    if (end - p < 4) return -1;
    int32_t unit = 0;
    for (int i = 0; i < 4; i += 1) {
        int digit = hex_digit(p[i]);
        if (digit < 0) return -1;
        unit = unit << 4 | digit;
    }
    return unit;
}

static uint8_t *utf8(uint32_t code, uint8_t *out) {
    if (code < 0x80) {
        *out++ = uint8_t(code);
    } else if (code < 0x800) {
        *out++ = uint8_t(0xC0 | code >> 6);
        *out++ = uint8_t(0x80 | (code & 0x3F));
    } else if (code < 0x10000) {
        *out++ = uint8_t(0xE0 | code >> 12);
        *out++ = uint8_t(0x80 | (code >> 6 & 0x3F));
        *out++ = uint8_t(0x80 | (code & 0x3F));
    } else {
        *out++ = uint8_t(0xF0 | code >> 18);
        *out++ = uint8_t(0x80 | (code >> 12 & 0x3F));
        *out++ = uint8_t(0x80 | (code >> 6 & 0x3F));
        *out++ = uint8_t(0x80 | (code & 0x3F));
    }
    return out;
}

/* `p` is behind `\u`; moves it behind what was read. NULL: not four hexadecimal digits. */
static uint8_t *unescape_unicode(const uint8_t *&p, const uint8_t *end, uint8_t *out) {
    int32_t unit = code_unit(p, end);
    if (unit < 0) return nullptr;
    p += 4;
    uint32_t code = uint32_t(unit);
    if (code >= 0xD800 && code < 0xE000) {
        int32_t low = end - p >= 2 && p[0] == '\\' && p[1] == 'u' ? code_unit(p + 2, end) : -1;
        if (code < 0xDC00 && low >= 0xDC00 && low < 0xE000) {
            code = 0x10000 + ((code - 0xD800) << 10) + (uint32_t(low) - 0xDC00);
            p += 6;
        } else {
            code = 0xFFFD;
        }
    }
    return utf8(code, out);
}

/* What the character behind a backslash stands for; 0: `u`, or an unknown one. */
struct Escapes {
    uint8_t of[256] = {};
    constexpr Escapes() {
        of[uint8_t('"')] = '"';
        of[uint8_t('\\')] = '\\';
        of[uint8_t('/')] = '/';
        of[uint8_t('b')] = '\b';
        of[uint8_t('f')] = '\f';
        of[uint8_t('n')] = '\n';
        of[uint8_t('r')] = '\r';
        of[uint8_t('t')] = '\t';
    }
};
static constexpr Escapes escapes;

/* Copies one block and returns how many of its bytes lie before its first backslash. Most blocks have none: what follows
 * from that is a branch, so that one block does not wait for the one before. */
#ifdef __SSE2__
static constexpr ptrdiff_t block_bytes = 32;
static inline ptrdiff_t copy_block(const uint8_t *p, uint8_t *out) {
    const __m128i backslash = _mm_set1_epi8('\\');
    __m128i low = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p));
    __m128i high = _mm_loadu_si128(reinterpret_cast<const __m128i *>(p + 16));
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out), low);
    _mm_storeu_si128(reinterpret_cast<__m128i *>(out + 16), high);
    uint64_t found = uint32_t(_mm_movemask_epi8(_mm_cmpeq_epi8(low, backslash)))
        | uint64_t(uint32_t(_mm_movemask_epi8(_mm_cmpeq_epi8(high, backslash)))) << 16;
    return found ? __builtin_ctzll(found) : block_bytes;
}
#else
static constexpr ptrdiff_t block_bytes = 8;
static inline ptrdiff_t copy_block(const uint8_t *p, uint8_t *out) {
    uint64_t word;
    memcpy(&word, p, 8);
    memcpy(out, &word, 8);
    uint64_t zero = word ^ UINT64_C(0x5C5C5C5C5C5C5C5C);
    uint64_t found = (zero - UINT64_C(0x0101010101010101)) & ~zero & UINT64_C(0x8080808080808080);
    return found ? __builtin_ctzll(found) / 8 : 8;
}
#endif

uint8_t *unescape(Slice text, uint8_t *out) {
    const uint8_t *p = text.begin, *end = text.end;
    while (p < end) {
        if (end - p >= block_bytes) {
            ptrdiff_t run = copy_block(p, out);
            if (run == block_bytes) {
                p += block_bytes;
                out += block_bytes;
                continue;
            }
            p += run;
            out += run;
        } else if (*p != '\\') {
            *out++ = *p++;
            continue;
        }
        if (end - p < 2) return nullptr;
        uint8_t plain = escapes.of[p[1]];
        if (plain) {
            *out++ = plain;
            p += 2;
        } else if (p[1] == 'u') {
            p += 2;
            out = unescape_unicode(p, end, out);
            if (!out) return nullptr;
        } else {
            return nullptr;
        }
    }
    return out;
}

}  // namespace gotoni
