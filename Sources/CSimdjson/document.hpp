/*
 * A JSON document as the list of its structural characters.
 *
 * simdjson's first stage finds them (and checks UTF-8, quotes and control characters) at several GB/s; `check` proves
 * the grammar in one walk over them; afterwards every value can be skipped or looked into without checking again.
 * Its second stage is not used: the tape would cost a copy of every string, and raw slices of the body would be lost.
 *
 * Positions are indexes into the list. A value begins at one; the bytes of a scalar reach to the next, less white
 * space.
 */
#pragma once
#include <simdjson.h>

#include <memory>

#include "CSimdjson.h"

namespace gotoni {

/* Bytes of the body. */
struct Slice {
    const uint8_t *begin = nullptr, *end = nullptr;
    size_t size() const { return size_t(end - begin); }
};

struct Document {
    using Position = uint32_t;
    /* No value. */
    static constexpr Position none = UINT32_MAX;

    /* Finds and checks. The body must outlive the use of the document. */
    int32_t read(const uint8_t *body, size_t size);
    /* Gives back what a body of `most` bytes does not need. */
    void shrink(size_t most);

    uint8_t at(Position p) const { return p < count ? body[marks[p]] : 0; }
    bool is_string(Position p) const { return at(p) == '"'; }
    bool is_array(Position p) const { return at(p) == '['; }
    bool is_object(Position p) const { return at(p) == '{'; }
    bool is_null(Position p) const { return p == none || at(p) == 'n'; }
    bool is_true(Position p) const { return at(p) == 't'; }
    bool is_number(Position p) const { return at(p) == '-' || (at(p) >= '0' && at(p) <= '9'); }

    /* The position after the value at `p`. */
    Position skip(Position p) const { return is_object(p) || is_array(p) ? skip_container(p) : p + 1; }
    /* All bytes of the value at `p`. */
    Slice raw(Position p) const;
    /* Between the quotes of the string at `p`, escapes as they are. */
    Slice inside(Position p) const;
    /* The whole number at `p`, `skipping` that many bytes of it; false if what is there is not digits, or more than
     * 18 of them. */
    bool whole(Position p, size_t skipping, uint64_t &value) const {
        if (p >= count) return false;
        const uint8_t *digit = body + marks[p] + skipping, *first = digit;
        uint64_t sum = 0;
        /* Neither a checked number nor the first byte of another value is the last byte of the body. */
        for (; *digit >= '0' && *digit <= '9'; digit += 1) {
            if (digit - first == 18) return false;
            sum = sum * 10 + (*digit - '0');
        }
        if (digit == first || *digit == '.' || *digit == 'e' || *digit == 'E') return false;
        value = sum;
        return true;
    }

    /* The elements of an array, or the values of an object: `use(value)` or `use(key, value)` until it is false. */
    template <typename Use> void elements(Position array, Use use) const {
        Position p = array + 1;
        while (at(p) != ']') {
            if (!use(p)) return;
            p = skip(p);
            if (at(p) == ',') p++;
        }
    }
    template <typename Use> void fields(Position object, Use use) const {
        Position p = object + 1;
        while (at(p) != '}') {
            Position value = p + 2;
            use(p, value);
            p = skip(value);
            if (at(p) == ',') p++;
        }
    }

private:
    Position skip_container(Position p) const;
    int32_t check() const;
    bool is_scalar(Position p) const;
    /* Of the scalar at `p`. */
    Slice extent(Position p) const;

    std::unique_ptr<simdjson::internal::dom_parser_implementation> parser;
    const uint8_t *body = nullptr;
    size_t size = 0;
    const uint32_t *marks = nullptr;
    Position count = 0;
};

/* The bytes that `text`, the inside of a checked string, stands for, written to `out`, which has room for as many. A
 * surrogate without its other half becomes U+FFFD, as its three bytes. Returns the end; NULL for an unknown escape. */
uint8_t *unescape(Slice text, uint8_t *out);

}  // namespace gotoni
