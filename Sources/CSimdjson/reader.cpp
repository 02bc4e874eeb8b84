#include <new>

#include "fields.hpp"
#include "prompt.hpp"

using namespace gotoni;
using Position = Document::Position;

/* What a body of at most this size needs is kept for the next. */
static constexpr size_t kept_bytes = 1 << 20;

struct gotoni_json_reader {
    Document document;
    Writer prompt;
    /* Model, adapter, salt and session, one behind the other. */
    Writer names;
};

extern "C" gotoni_json_reader *gotoni_json_create(void) { return new (std::nothrow) gotoni_json_reader; }

extern "C" void gotoni_json_destroy(gotoni_json_reader *reader) { delete reader; }

namespace {

enum Field {
    model, lora_path, lora_name, lora, cache_salt, extra_key, session_id, session_params, prompt_cache_key,
    conversation, user, priority, stream, stream_options, max_completion_tokens, max_tokens, max_output_tokens,
    sampling_params, messages, prompt, input, text, input_ids, instructions, tools, functions, image_data, video_data,
    audio_data, add_generation_prompt, continue_final_message, chat_template, chat_template_kwargs, documents,
    reasoning_effort, tokens, field_count
};

constexpr std::string_view field_names[] = {
    "model", "lora_path", "lora_name", "lora", "cache_salt", "extra_key", "session_id", "session_params",
    "prompt_cache_key", "conversation", "user", "priority", "stream", "stream_options", "max_completion_tokens",
    "max_tokens", "max_output_tokens", "sampling_params", "messages", "prompt", "input", "text", "input_ids",
    "instructions", "tools", "functions", "image_data", "video_data", "audio_data", "add_generation_prompt",
    "continue_final_message", "chat_template", "chat_template_kwargs", "documents", "reasoning_effort", "tokens"};
static_assert(sizeof field_names / sizeof *field_names == field_count, "one name for each field");

/* Where something begins and ends in a writer whose memory may still move. */
struct Range {
    size_t begin = 0, end = 0;
    gotoni_json_text in(const Writer &writer) const {
        return {end > begin ? writer.bytes() + begin : nullptr, end - begin};
    }
};

struct Body {
    gotoni_json_reader &reader;
    Position fields[field_count];

    const Document &document() const { return reader.document; }

    Position field_of(Position object, std::string_view name) const {
        const std::string_view names[] = {name};
        Position values[1];
        find_fields(document(), object, names, values);
        return values[0];
    }

    /* The first of these that says something: a string's text, or anything else's raw JSON. */
    Range name(std::initializer_list<Position> candidates) {
        Range range;
        range.begin = reader.names.size();
        for (Position candidate : candidates) {
            if (!document().is_null(candidate)) reader.names.text_or_raw(document(), candidate);
            if (reader.names.size() > range.begin) break;
        }
        range.end = reader.names.size();
        return range;
    }

    /* SGLang's two salts; together they are not the same as one of them that reads like both. */
    Range salt() {
        Range range = name({fields[cache_salt]});
        if (document().is_null(fields[extra_key])) return range;
        reader.names.mark('K');
        range.end = name({fields[extra_key]}).end;
        return range;
    }

    Range session() {
        Position object = fields[conversation];
        return name({
            fields[session_id], field_of(fields[session_params], "id"), fields[prompt_cache_key],
            document().is_object(object) ? field_of(object, "id") : object, fields[user]});
    }

    /* False, and the value as it was, if it is no integer of at most 18 digits. */
    bool integer(Position p, int64_t &value) const {
        bool negative = document().at(p) == '-';
        uint64_t sum;
        if (!document().whole(p, negative, sum)) return false;
        value = negative ? -int64_t(sum) : int64_t(sum);
        return true;
    }

    int64_t most_output() const {
        Position sampling = fields[sampling_params];
        if (document().is_array(sampling)) sampling += 1;
        for (Position candidate : {
                 fields[max_completion_tokens], fields[max_tokens], fields[max_output_tokens],
                 field_of(sampling, "max_new_tokens")}) {
            int64_t value;
            if (integer(candidate, value) && value >= 0) return value;
        }
        return -1;
    }

    Prompt write_conversation(Position messages) {
        Writer &writer = reader.prompt;
        write_tools(writer, document(), fields[tools]);
        write_tools(writer, document(), fields[functions]);
        write_instructions(writer, document(), fields[instructions]);
        write_messages(writer, document(), messages);
        Prompt written;
        written.sequences = writer.size() > 0 ? 1 : 0;
        written.conversation = true;
        written.end = writer.size();
        writer.pad();
        return written;
    }

    /* What a conversation's template is asked for besides the messages. */
    uint8_t template_wishes() const {
        for (Field field : {chat_template, documents, reasoning_effort}) {
            if (!document().is_null(fields[field])) return GOTONI_JSON_WISHES_MORE;
        }
        /* The default may be said. */
        if (document().at(fields[add_generation_prompt]) == 'f' || document().is_true(fields[continue_final_message])) {
            return GOTONI_JSON_WISHES_MORE;
        }
        Position wishes = fields[chat_template_kwargs];
        if (document().is_null(wishes)) return GOTONI_JSON_WISHES_NOTHING;
        size_t count = 0;
        if (document().is_object(wishes)) document().fields(wishes, [&](Position, Position) { count += 1; });
        Position thinking = field_of(wishes, "enable_thinking");
        if (count != 1) return document().is_object(wishes) && count == 0 ? GOTONI_JSON_WISHES_NOTHING : GOTONI_JSON_WISHES_MORE;
        if (document().is_true(thinking)) return GOTONI_JSON_WISHES_THINKING;
        return document().at(thinking) == 'f' ? GOTONI_JSON_WISHES_NO_THINKING : GOTONI_JSON_WISHES_MORE;
    }

    Prompt write(uint32_t endpoint) {
        Writer &writer = reader.prompt;
        switch (endpoint) {
            case GOTONI_JSON_COMPLETIONS: return write_prompt(writer, document(), fields[prompt]);
            case GOTONI_JSON_TOKENIZED: return write_prompt(writer, document(), fields[tokens]);
            case GOTONI_JSON_RESPONSES: return write_conversation(fields[input]);
            case GOTONI_JSON_EMBEDDINGS:
                if (document().is_null(fields[input])) return write_conversation(fields[messages]);
                return write_prompt(writer, document(), fields[input]);
            case GOTONI_JSON_GENERATE: {
                if (!document().is_null(fields[input_ids])) return write_prompt(writer, document(), fields[input_ids]);
                Prompt written = write_prompt(writer, document(), fields[text]);
                size_t texts = writer.size();
                for (Field field : {image_data, video_data, audio_data}) write_media(writer, document(), fields[field]);
                if (writer.size() != texts) written.end = 0;
                writer.pad();
                return written;
            }
            default: return write_conversation(fields[messages]);
        }
    }
};

}  // namespace

extern "C" int32_t gotoni_json_read(
    gotoni_json_reader *reader, const uint8_t *bytes, size_t size, uint32_t endpoint, gotoni_json_body *out) {
    *out = gotoni_json_body();
    reader->names.clear();
    reader->prompt.clear();
    if (size <= kept_bytes && reader->prompt.room() > 2 * kept_bytes) reader->prompt.release();
    if (reader->names.room() > kept_bytes) reader->names.release();

    int32_t status = reader->document.read(bytes, size);
    if (!status) {
        Body body{*reader, {}};
        find_fields(body.document(), 0, field_names, body.fields);
        Range model_name = body.name({body.fields[model]});
        Range adapter = body.name({body.fields[lora_path], body.fields[lora_name], body.fields[lora]});
        Range salt = body.salt();
        Range session = body.session();
        Prompt prompt = body.write(endpoint);
        status = reader->names.status ? reader->names.status : reader->prompt.status;
        if (!status) {
            out->tokens = reinterpret_cast<const uint32_t *>(reader->prompt.bytes());
            out->token_count = reader->prompt.size() / 4;
            out->model = model_name.in(reader->names);
            out->adapter = adapter.in(reader->names);
            out->salt = salt.in(reader->names);
            out->session = session.in(reader->names);
            body.integer(body.fields[priority], out->priority);
            out->max_output_tokens = body.most_output();
            out->sequences = prompt.sequences;
            out->exact = prompt.exact;
            out->conversation = prompt.conversation;
            if (prompt.conversation) out->template_wishes = body.template_wishes();
            if (prompt.sequences == 1 && !prompt.exact) out->prompt = {reader->prompt.bytes(), prompt.end};
            out->streams = body.document().is_true(body.fields[stream]);
            out->wants_usage =
                body.document().is_true(body.field_of(body.fields[stream_options], "include_usage"));
        }
    }
    reader->document.shrink(kept_bytes);
    return status;
}
