"""Random texts, most of them about what lies between two words: where tokenizers differ if they do."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

SPACES = (
    " ", " ", " ", "  ", "   ", "\t", "\n", "\n", "\n\n", "\r\n", "\r", "\v", "\f", " \n", "\n ", "\t\n", " \r\n\r\n",
    "\u00a0", "\u0085", "\u1680", "\u180e", "\u2000", "\u2003", "\u200a", "\u2028", "\u2029", "\u202f", "\u205f",
    "\u3000", "\u200b", "\u200c", "\u200d", "\u2060", "\ufeff", "\u00ad", "\x00", "\x1c", "\x1d", "\x1e", "\x1f",
    "    ", "        ",
)  # fmt: skip
APOSTROPHES = ("'", "'", "'", "’", "ʼ", "`", "＇", "''")
CONTRACTIONS = (
    "s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "VE", "M", "LL", "D", "Re", "rE", "Ve", "vE", "Ll", "lL",
    "ſ", "ſs", "sſ", "lſ", "ſt", "K", "ß", "ẞ", "i", "İ", "ı", "x", "es", "th", "rev", "lls", "n't", "ﬀ", "ﬁ", "ǆ", "ǅ",
)  # fmt: skip
WORDS = (
    "the", "router", "Hello", "world", "WORLD", "iPhone", "camelCase", "snake_case", "HTTPServer", "naïve", "Größe",
    "café", "cafe\u0301", "Ångström", "Привет", "мир", "Ελλάδα", "ΣΊΣΥΦΟΣ", "שלום", "مرحبا", "नमस्ते", "ไทย", "漢字",
    "かな", "カナ", "한국어", "\u1112\u1161\u11ab", "ｆｕｌｌ", "ﾊﾝｶｸ", "Ⅷ", "ⓐ", "ᾳ", "ǅ", "ʰ", "ª", "𝒜𝓑", "𐐀𐐨", "𒀀", "ꟲ",
    "a", "I", "x", "don", "we", "they", "def", "return", "self", "str", "ing", "tion", "ÀÉ", "ñ", "œ", "þ", "ﷺ", "Ꭰꭰ",
)  # fmt: skip
NUMBERS = ("0", "1", "12", "123", "1234", "12345", "1234567890", "3.14", "1e-9", "0x1F", "٣٤", "१२३", "²", "½", "Ⅻ", "①",
           "𝟘𝟙", "一", "〇", "௧", "1,000", "2026-01-01", "৴", "㊿", "𐄇", "\U0001e2f0", "\U00011de0")  # fmt: skip
PUNCTUATION = (
    ".", ",", "!", "?", ":", ";", "-", "--", "_", "/", "//", "\\", "\"", "(", ")", "[", "]", "{", "}", "<", ">", "|", "#",
    "@", "$", "%", "^", "&", "*", "+", "=", "~", "...", "…", "—", "–", "«", "»", "„", "“", "。", "、", "！", "¿", "·", "€",
    "©", "→", "∑", "•", "```", "/*", "*/", "://", "</", "/>", "==", "!=", "->", "=>", "::", "/\n", "/\r\n", ")\n", "'\n",
)  # fmt: skip
MARKS = (
    "\u0300", "\u0301", "\u0308", "\u0323", "\u0327", "\u0338", "\u0345", "\u034f", "\u0591", "\u064b", "\u0651", "\u093c",
    "\u093f", "\u094d", "\u09be", "\u09d7", "\u0b3e", "\u0e34", "\u0e48", "\u0f71", "\u0f72", "\u1161", "\u11a8", "\u20dd",
    "\u20e3", "\u302a", "\u3099", "\u309a", "\ufe0e", "\ufe0f", "\ufe20", "\U000110ba", "\U0001d165", "\U0001e944",
    "\u0344", "\u0340", "\u0958", "\u2126", "\u212b", "\uf900", "\U0002f800", "\u0374", "\u1fef", "\u2adc",
)  # fmt: skip
EMOJI = (
    "😀", "👍", "👍🏽", "👩‍👩‍👧‍👦", "🏳️‍🌈", "🇩🇪", "🇩", "❤️", "❤", "1️⃣", "👩🏿‍🚀", "\U0001fae8", "🫠", "☕", "🧑🏻‍❤️‍💋‍🧑🏿",
    "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
)  # fmt: skip
# Of Unicode 11 to 17, and some that have no meaning yet: letters, digits, marks, symbols.
NEW = (
    "\u0870", "\u0897", "\u08c8", "\u09fe", "\u0c3c", "\u0c5d", "\u0cf3", "\u0ece", "\u1ac1", "\u1acf", "\u1c89", "\u1c8a",
    "\u1c90", "\u2bff", "\u2c2f", "\u2ffc", "\u31bb", "\u31e4", "\u32ff", "\ua7af", "\ua7ba", "\ua7c0", "\ua7cb",
    "\ua7cd", "\ua7d2", "\ua7da", "\ua7dc", "\ua7f1", "\ua7f2", "\ua82c", "\uab68", "\U00010570", "\U000105c0",
    "\U000105c9", "\U00010780", "\U00010d40", "\U00010d4a", "\U00010d69", "\U00010efd", "\U00010f27", "\U00010f82",
    "\U00011070", "\U0001133b", "\U00011380", "\U000113c5", "\U00011938", "\U00011bc0", "\U00011bf0", "\U00011f00",
    "\U00011f50", "\U00011fc0", "\U00013430", "\U00013460", "\U00014400", "\U00016100", "\U0001611e", "\U00016130",
    "\U00016d40", "\U00016d70", "\U0001b132", "\U0001cc00", "\U0001ccf0", "\U0001d2c0", "\U0001df00", "\U0001e030",
    "\U0001e290", "\U0001e4d0", "\U0001e4f0", "\U0001e5d0", "\U0001e5f1", "\U0001e7e0", "\U0001f1ad", "\U0001f6d8",
    "\U0001f8b2", "\U0001fa89", "\U0001fac8", "\U0001fbf5", "\U0002a6df", "\U0002b739", "\U0002ebf0", "\U00030000",
    "\U00031350", "\U000323b0", "\U000e0100", "\U00040000", "\ue000", "\U000f0000", "\U0010fffd", "\uffff", "\ufdd0",
    "\ufffd", "\u0378", "\uf8ff", "\U00016ff0", "\U00016ff4", "\u2029", "\u20c0", "\u20c1", "\u33ff", "\u4db8", "\u9ffd",
)  # fmt: skip
CUTS = (
    "<|",
    "|>",
    "<|im_start",
    "im_end|>",
    "<|endof",
    "<｜",
    "｜>",
    "▁",
    "<｜end▁of",
    "<|im_start|",
    "<",
    "[INST",
    "<EOT",
)
PIECES = (SPACES, APOSTROPHES, CONTRACTIONS, WORDS, NUMBERS, PUNCTUATION, MARKS, EMOJI, NEW, CUTS)
WEIGHTS = (22, 8, 8, 20, 8, 14, 6, 3, 6, 2)


def scalar(chance: random.Random) -> str:
    """Any scalar value, those of the first plane more often."""
    while True:
        code = chance.randrange(0x110000 if chance.random() < 0.4 else 0x3000 if chance.random() < 0.5 else 0x10000)
        if not 0xD800 <= code < 0xE000:
            return chr(code)


def text(chance: random.Random, specials: Sequence[str] = (), most: int = 60) -> str:
    """Up to `most` pieces. `specials`: added tokens of the tokenizer that will read it."""
    kind = chance.random()
    if kind < 0.05:
        return "".join(scalar(chance) for _ in range(chance.randrange(most)))
    if kind < 0.08:
        return _run(chance)
    kinds: Callable[[], Sequence[str]]
    if kind < 0.3:  # of two kinds alone
        few = chance.sample(PIECES, 2)
        kinds = lambda: chance.choice(few)  # noqa: E731
    else:
        kinds = lambda: chance.choices(PIECES, WEIGHTS)[0]  # noqa: E731
    parts = []
    for _ in range(chance.randrange(1, most)):
        number = chance.random()
        if number < 0.03 and specials:
            parts.append(_special(chance, chance.choice(specials)))
        elif number < 0.05:
            parts.append(scalar(chance))
        elif number < 0.06:
            parts.append(_run(chance))
        else:
            parts.append(chance.choice(kinds()))
    return "".join(parts)


def _special(chance: random.Random, token: str) -> str:
    """The token, perhaps cut or with white space around it."""
    kind = chance.random()
    if kind < 0.6:
        return token
    if kind < 0.75:
        return token[: chance.randrange(len(token) + 1)]
    if kind < 0.85:
        return token[chance.randrange(len(token)) :]
    return chance.choice(SPACES) + token + chance.choice(SPACES)


def _run(chance: random.Random) -> str:
    """A run of one piece, longer than most limits of what is scanned or cached."""
    return chance.choice(chance.choice(PIECES)) * chance.choice(
        (2, 3, 7, 8, 9, 15, 16, 17, 24, 25, 28, 29, 33, 63, 64, 65, 130, 300)
    )
