// How long reading the prompt out of a chat body takes: gotoni_json_read as the proxy calls it, and beside it the first
// stage of simdjson alone, which is what finding the structure costs at least.
//   reading [KIBIBYTES] [MESSAGES]
#include <simdjson.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "CSimdjson.h"

// A conversation as code agents send it: prose with quotes and line ends that JSON has to escape.
static std::string body(size_t bytes, size_t messages) {
    static const char *const words[] = {"the ",       "router ",  "sends ",      "prompts\\n",  "to \\\"servers\\\" ",
                                        "that\\tknow ", "them. ", "func main() ", "{ return; } ", "caf\u00e9 "};
    std::mt19937_64 random(1);
    std::string text = "{\"model\":\"m\",\"stream\":true,\"messages\":[";
    for (size_t message = 0; message < messages; message += 1) {
        text += message ? ",{\"role\":\"" : "{\"role\":\"";
        text += message == 0 ? "system" : message % 2 ? "user" : "assistant";
        text += "\",\"content\":\"";
        while (text.size() < bytes * (message + 1) / messages) text += words[random() % std::size(words)];
        text += "\"}";
    }
    return text + "],\"max_tokens\":64}";
}

template <class Work> static double best_us(const Work &work) {
    double best = 1e9;
    for (int round = 0; round < 9; round += 1) {
        auto start = std::chrono::steady_clock::now();
        for (int i = 0; i < 200; i += 1) work();
        std::chrono::duration<double, std::micro> taken = std::chrono::steady_clock::now() - start;
        best = std::min(best, taken.count() / 200);
    }
    return best;
}

int main(int argc, char **argv) {
    size_t bytes = (argc > 1 ? strtoul(argv[1], nullptr, 10) : 100) << 10;
    size_t messages = argc > 2 ? strtoul(argv[2], nullptr, 10) : 26;
    std::string text = body(bytes, messages);
    gotoni_json_reader *reader = gotoni_json_create();
    gotoni_json_body facts;
    if (!reader) return 2;
    double ours = best_us([&] {
        if (gotoni_json_read(reader, reinterpret_cast<const uint8_t *>(text.data()), text.size(), GOTONI_JSON_CHAT, &facts))
            abort();
    });
    simdjson::padded_string padded(text);
    simdjson::dom::parser parser;
    double dom = best_us([&] {
        if (parser.parse(padded).error()) abort();
    });
    printf(
        "{\"bytes\": %zu, \"messages\": %zu, \"tokens\": %zu, \"reading_us\": %.1f, \"simdjson_parse_us\": %.1f}\n", text.size(),
        messages, size_t(facts.token_count), ours, dom);
    gotoni_json_destroy(reader);
}
