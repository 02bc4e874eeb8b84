"""Chats made from a seed: each kind of text that is hard for a tokenizer or a template, growing turn by turn.

The first request of a chat has one question, the next has its answer and another question, and so on. A chat's first
words are its own, so it shares nothing with others but what its template puts before them, or the system prompt of its
group.
"""

from __future__ import annotations

import dataclasses
import json
import random
import unicodedata
from collections.abc import Iterator
from typing import Any

Message = dict[str, Any]

ENGLISH = (
    "the of router server answers a question about prefix caches while it's busy, they'll wait; don't count on it "
    "because every token costs time and we've measured 12,345.67 of them (in 2026) at 99.9% load, haven't we? "
    "Yes: it was I'd say THE slowest path—“quoted” words, naïve café façade, "
    "e-mail@example.org https://example.org/a?b=c#d"
).split(" ")
CODE = [
    "def total(values: list[int]) -> int:\n    result = 0\n    for value in values:\n        result += value\n",
    "```python\nprint(f\"{name!r:>10}\")\t# tab\n```\n",
    "for (int i = 0; i < n; ++i) {\n\tif (a[i] != b[i]) { return -1; }\n}\n\n\n",
    "SELECT id, name FROM t WHERE x >= 10 AND y IN ('a','b') -- comment\r\n",
    '{"key": [1, 2.5e-3, null, true], "nested": {"a\\n": "\\u00e9"}}',
    "let x = values.map { $0 * 2 }.filter { $0 % 3 == 0 } // 0xDEADBEEF\n",
    "<div class='a'><p>text</p></div>        <!-- spaces -->",
]
CJK = [
    *("路由器把请求发给缓存最多的服务器，", "今天的天气怎么样？", "価格は１２３４円です。", "カタカナとひらがな、"),
    *("漢字が混ざった文章。", "안녕하세요, 반갑습니다. ", "ｆｕｌｌｗｉｄｔｈ\u3000", "中文English混排123测试。"),
    *("『引用』", "𠮷野家", "Добрый день, ", "สวัสดีครับ ", "مرحبا بالعالم ", "नमस्ते दुनिया "),
]
EMOJI = [
    *("👋", "🏳️‍🌈", "👩‍💻", "🇯🇵🇩🇪", "👍🏽", "❤️", "🤖🚀", " 🎉 ", "1️⃣", "😀😀😀"),
    *("¯\\_(ツ)_/¯", "→", "∑∫√", "½", "™", "\u200b", "\u2003", "\ufeff"),
]
SPACES = [
    *("  ", "\n", "\n\n", "\t", " \n ", "word", "two  words", "\r\n", "   end", "a\n\n\nb"),
    *("1 2  3   4", "\u00a0", " . ", "...", " ,"),
]
SPECIAL = [
    *("<|im_end|>", "<|im_start|>user\n", "<|eot_id|>", "[INST]", "[/INST]", "</s>", "<think>", "</think>", "<｜User｜>"),
    *("<tool_call>", "<|im_", "end|>", "<|", "[INS", "text", " and ", "\n"),
]
DECOMPOSED = unicodedata.normalize("NFD", "café naïve Ångström ñandú Über señor 한국어 が ぱ Việt Nam ").split(" ")
CASES = (
    "camelCase HTTPServer XMLHttpRequest ÀÉÎ ÜberGroß ΑΒΓαβγ МоскваМОСКВА iPhone aB Ab ABC abc Straße İstanbul ǅ ªº"
).split(" ")

PARTS = {
    "english": (ENGLISH, " "),
    "code": (CODE, ""),
    "cjk": (CJK, ""),
    "emoji": (EMOJI + ENGLISH[:12], " "),
    "spaces": (SPACES, ""),
    "special": (SPECIAL, ""),
    "decomposed": (DECOMPOSED, " "),
    "cases": (CASES, " "),
}
KINDS = list(PARTS)
ALL_KINDS = [*KINDS, "parts", "options", "tools"]
SYSTEM_KINDS = ("english", "code", "cjk", "emoji")
LONG_SYSTEM = 120


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": "What the weather is like, <now> & later: 天気",
            "parameters": {
                "type": "object",
                "properties": {
                    "place": {"type": "string", "description": "The city's name"},
                    "days": {"type": "integer", "minimum": 1, "default": 1},
                    "factor": {"type": "number", "default": 0.5},
                },
                "required": ["place"],
            },
        },
    },
    {"type": "function", "function": {"name": "stop", "description": "Ends it.", "parameters": {}}},
]


@dataclasses.dataclass(frozen=True)
class Request:
    chat: int
    turn: int
    kind: str
    stream: bool
    messages: list[Message]
    fields: dict[str, Any]


@dataclasses.dataclass
class Chat:
    number: int
    kind: str
    turns: list[list[Message]]  # what each adds to the messages before it; an answer comes first, but in the first
    fields: dict[str, Any] = dataclasses.field(default_factory=dict)  # of the body, beside the messages

    def requests(self) -> Iterator[Request]:
        messages: list[Message] = []
        for turn, added in enumerate(self.turns):
            messages += added
            stream = (self.number + turn) % 2 == 0
            yield Request(self.number, turn, self.kind, stream, list(messages), self.fields)

    def answered(self, turn: int, text: str) -> None:
        """The chat goes on with this answer instead of the one that was written beforehand."""
        if turn + 1 < len(self.turns) and "tool_calls" not in self.turns[turn + 1][0]:
            self.turns[turn + 1][0] = {"role": "assistant", "content": text}


def make(seed: str, each: int = 1, tools: bool = False) -> list[Chat]:
    """Chats without a system prompt first, then those with one of their own, then a group that shares one."""
    chance = random.Random(seed)
    chats: list[Chat] = []

    def add(kind: str, system: str | None = None, name: str | None = None, **fields: Any) -> None:
        chats.append(Chat(len(chats), name or kind, talk(chance, len(chats), kind, system), fields))

    for _ in range(each):
        for kind in KINDS:
            add(kind)
        add("english", name="parts")
        for turn in chats[-1].turns:
            turn[-1] = turn[-1] | {"content": parts_of(turn[-1]["content"])}
        add("english", name="options", chat_template_kwargs={"enable_thinking": False})
    for _ in range(each):
        for kind in SYSTEM_KINDS:
            add(kind, f"{len(chats)} is your number. " + text(chance, kind, 20, 60))
    shared = "You share this. " + text(chance, "english", LONG_SYSTEM, LONG_SYSTEM)
    for kind in ("english", "code", "cjk"):
        add(kind, shared)
    for _ in range(each if tools else 0):
        chats.append(Chat(len(chats), "tools", with_calls(chance, len(chats)), {"tools": TOOLS}))
    return chats


def talk(chance: random.Random, number: int, kind: str, system: str | None) -> list[list[Message]]:
    """Three to eight turns."""
    turns: list[list[Message]] = []
    for turn in range(chance.randint(3, 8)):
        added: list[Message] = []
        if turn == 0 and system is not None:
            added.append({"role": "system", "content": system})
        if turn > 0:
            answer = text(chance, "english" if turn % 2 else kind, 5, 60)
            if turn == 1 and kind == "english" and system is None:
                answer = f"<think>\n{text(chance, kind, 5, 20)}\n</think>\n\n{answer}"
            added.append({"role": "assistant", "content": answer})
        question = text(chance, kind, 3, 40)
        added.append({"role": "user", "content": f"{number}: {question}" if turn == 0 else question})
        turns.append(added)
    return turns


def with_calls(chance: random.Random, number: int) -> list[list[Message]]:
    """A question, a call and its result, what came of it and another question, another call."""
    turns: list[list[Message]] = [[{"role": "user", "content": f"{number}: {text(chance, 'english', 3, 10)}"}]]
    for index, place in enumerate(["東京", 'New "York"']):
        arguments = json.dumps({"place": place, "days": 2 + index, "factor": 1.5}, ensure_ascii=False)
        function = {"name": "get_weather", "arguments": arguments}
        call = {"id": f"call{number:03}{index:02}", "type": "function", "function": function}
        result = text(chance, "english", 5, 20)
        turns.append(
            [
                {"role": "assistant", "content": "", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": call["id"], "content": result},
            ]
        )
        answer, question = text(chance, "english", 5, 20), text(chance, "cjk", 2, 5)
        turns.append([{"role": "assistant", "content": answer}, {"role": "user", "content": question}])
    return turns


def parts_of(question: str) -> list[dict[str, str]]:
    middle = len(question) // 2
    return [{"type": "text", "text": part} for part in (question[:middle], question[middle:])]


def text(chance: random.Random, kind: str, least: int, most: int) -> str:
    words, between = PARTS[kind]
    return between.join(chance.choices(words, k=chance.randint(least, most)))
