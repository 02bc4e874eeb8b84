/* What becomes of a body's prompt. What is written for a message never depends on those behind it, so a conversation
 * that goes on begins with the same bytes. */
#pragma once
#include "writer.hpp"

namespace gotoni {

/* Sequences written, and whether all of them were token ids; of one text, where it ends before the zeros behind it. */
struct Prompt {
    size_t sequences = 0;
    bool exact = false;
    bool conversation = false;
    size_t end = 0;
};

/* A string, a list of token ids, or a list of those, one behind the other, each from a whole token on. Shapes that no
 * API has count as their raw JSON. */
Prompt write_prompt(Writer &writer, const Document &document, Document::Position prompt);

/* A list of messages or items; a string is one message of the user. */
void write_messages(Writer &writer, const Document &document, Document::Position messages);

/* The system message that `instructions` are. */
void write_instructions(Writer &writer, const Document &document, Document::Position instructions);

/* Tools or functions, if there are any. */
void write_tools(Writer &writer, const Document &document, Document::Position tools);

/* Images and the like beside a text: one, or a list of them. */
void write_media(Writer &writer, const Document &document, Document::Position media);

}  // namespace gotoni
