#include "prompt.hpp"

#include "fields.hpp"

namespace gotoni {

using Position = Document::Position;

/* ----- Prompts ------------------------------------------------------------------------------------------------ */

static void write_token(Writer &writer, const Document &document, Position p) {
    uint64_t id;
    if (document.whole(p, 0, id) && id <= UINT32_MAX) {
        writer.token(uint32_t(id));
    } else {
        writer.status = GOTONI_JSON_TOKEN_ID;
    }
}

/* The list at `p` begins with a number. */
static bool is_token_list(const Document &document, Position p) {
    return document.is_array(p) && document.is_number(p + 1);
}

static bool is_empty(const Document &document, Position p) { return document.at(p + 1) == ']'; }

/* One sequence. Returns whether it was token ids; `end` is where its text ends. */
static bool write_sequence(Writer &writer, const Document &document, Position p, size_t &end) {
    bool exact = is_token_list(document, p);
    if (exact) {
        document.elements(p, [&](Position element) {
            write_token(writer, document, element);
            return !writer.status;
        });
    } else if (document.is_string(p)) {
        writer.text(document, p);
    } else {
        writer.unknown(document.raw(p));
    }
    end = writer.size();
    writer.pad();
    return exact;
}

Prompt write_prompt(Writer &writer, const Document &document, Position prompt) {
    Prompt written;
    if (document.is_null(prompt)) return written;
    if (!document.is_array(prompt) || is_token_list(document, prompt)) {
        written.exact = write_sequence(writer, document, prompt, written.end);
        written.sequences = 1;
        return written;
    }
    written.exact = !is_empty(document, prompt);
    document.elements(prompt, [&](Position sequence) {
        if (!write_sequence(writer, document, sequence, written.end)) written.exact = false;
        written.sequences += 1;
        return !writer.status;
    });
    return written;
}

void write_media(Writer &writer, const Document &document, Position media) {
    if (document.is_null(media)) return;
    if (!document.is_array(media)) return writer.media(document.raw(media));
    document.elements(media, [&](Position one) {
        if (!document.is_null(one)) writer.media(document.raw(one));
        return !writer.status;
    });
}

/* ----- Messages ----------------------------------------------------------------------------------------------- */

/* A part of a content: its text, or what stands for an image. Returns whether it was text. */
static bool write_part(Writer &writer, const Document &document, Position part) {
    static constexpr std::string_view names[] = {"text", "refusal", "thinking"};
    Position values[3];
    find_fields(document, part, names, values);
    for (Position value : values) {
        if (document.is_string(value)) {
            writer.text(document, value);
            return true;
        }
    }
    writer.media(document.raw(part));
    return false;
}

/* A string, or a list of parts. Texts are joined by a line feed, so a string and a single part of it are the same: some
 * clients send the last message in parts, to mark it for caching, and later as a string. */
static void write_content(Writer &writer, const Document &document, Position content) {
    if (document.is_object(content)) {
        write_part(writer, document, content);
    } else if (!document.is_array(content)) {
        writer.text_or_raw(document, content);
    } else {
        bool after_text = false;
        document.elements(content, [&](Position part) {
            static const uint8_t line_feed = '\n';
            if (after_text) writer.raw({&line_feed, &line_feed + 1});
            if (document.is_object(part)) {
                after_text = write_part(writer, document, part);
            } else {
                writer.text_or_raw(document, part);
                after_text = true;
            }
            return !writer.status;
        });
    }
}

static void write_message(Writer &writer, const Document &document, Position message) {
    if (!document.is_object(message)) {
        writer.mark('M');
        return writer.text_or_raw(document, message);
    }
    enum { role, type, name, call, response_call, reasoning_content, reasoning, summary, content, calls, function,
           arguments, output, count };
    static constexpr std::string_view names[] = {
        "role", "type", "name", "tool_call_id", "call_id", "reasoning_content", "reasoning", "summary", "content",
        "tool_calls", "function_call", "arguments", "output"};
    Position values[count];
    find_fields(document, message, names, values);
    auto is_there = [&](int field) {
        Position p = values[field];
        return !document.is_null(p) && !(document.is_array(p) && is_empty(document, p));
    };

    writer.mark('M');
    Position kind = is_there(role) ? values[role] : values[type];
    if (!document.is_null(kind)) writer.text_or_raw(document, kind);
    bool known = false;
    auto write = [&](char mark, int field, void (*value)(Writer &, const Document &, Position)) {
        if (!is_there(field)) return;
        writer.mark(mark);
        value(writer, document, values[field]);
        known = true;
    };
    auto as_text = [](Writer &writer, const Document &document, Position p) { writer.text_or_raw(document, p); };
    auto as_json = [](Writer &writer, const Document &document, Position p) { writer.raw(document.raw(p)); };
    write('N', name, as_text);
    write('I', is_there(call) ? call : response_call, as_text);
    int thoughts = is_there(reasoning_content) ? reasoning_content : is_there(reasoning) ? reasoning : summary;
    write('R', thoughts, write_content);
    write('C', content, write_content);
    write('T', is_there(calls) ? calls : function, as_json);
    write('A', arguments, as_text);
    write('O', output, write_content);
    if (!known && !is_there(role)) writer.unknown(document.raw(message));
}

static void write_text_message(Writer &writer, const Document &document, const char *role, size_t size, Position text) {
    const uint8_t *bytes = reinterpret_cast<const uint8_t *>(role);
    writer.mark('M');
    writer.raw({bytes, bytes + size});
    writer.mark('C');
    write_content(writer, document, text);
}

void write_messages(Writer &writer, const Document &document, Position messages) {
    if (document.is_null(messages)) return;
    if (!document.is_array(messages)) return write_text_message(writer, document, "user", 4, messages);
    document.elements(messages, [&](Position message) {
        write_message(writer, document, message);
        return !writer.status;
    });
}

void write_instructions(Writer &writer, const Document &document, Position instructions) {
    if (!document.is_null(instructions)) write_text_message(writer, document, "system", 6, instructions);
}

void write_tools(Writer &writer, const Document &document, Position tools) {
    if (document.is_null(tools) || (document.is_array(tools) && is_empty(document, tools))) return;
    writer.mark('F');
    writer.raw(document.raw(tools));
}

}  // namespace gotoni
