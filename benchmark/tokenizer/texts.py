"""Texts to measure with, the same on every machine with the same Python: prose, code, many languages, chats."""

from __future__ import annotations

import json
import pathlib
import pydoc_data.topics
import random
import textwrap

# Begin, end of a message, and roles, by vocabulary: what its chat template writes.
MARKS = {
    "deepseek": ("<｜begin▁of▁sentence｜>", "<｜{role}｜>", "<｜end▁of▁sentence｜>", ("User", "Assistant")),
    "qwen": ("", "<|im_start|>{role}\n", "<|im_end|>\n", ("user", "assistant")),
}

SENTENCES = (
    "Der Router schickt jede Anfrage an den Rechner, der den größten Teil des Gesprächs schon im Speicher hält.",
    "Le routeur envoie chaque requête au serveur qui possède déjà la plus grande partie de la conversation en mémoire.",
    "El servidor más cercano no siempre es el más rápido: también importa cuántas preguntas esperan delante.",
    "Yönlendirici her isteği, konuşmanın çoğunu zaten belleğinde tutan sunucuya gönderir; böylece kullanıcı az bekler.",
    "Маршрутизатор отправляет каждый запрос на сервер, который уже хранит большую часть разговора в памяти.",
    "Ο δρομολογητής στέλνει κάθε αίτημα στον διακομιστή που έχει ήδη στη μνήμη το μεγαλύτερο μέρος της συνομιλίας.",
    "يرسل الموجّه كل طلب إلى الخادم الذي يحتفظ بالفعل بمعظم المحادثة في ذاكرته حتى لا ينتظر المستخدم طويلا.",
    "הנתב שולח כל בקשה לשרת שכבר מחזיק בזיכרון את רוב השיחה, וכך המשתמש ממתין מעט ככל האפשר.",
    "राउटर हर अनुरोध को उस सर्वर पर भेजता है जिसकी स्मृति में बातचीत का अधिकांश भाग पहले से मौजूद है।",
    "เราเตอร์ส่งคำขอแต่ละรายการไปยังเซิร์ฟเวอร์ที่มีบทสนทนาส่วนใหญ่อยู่ในหน่วยความจำแล้ว",
    "路由器把每个请求发送到内存中已经保存了大部分对话的服务器,这样用户就不必等待太久。",
    "ルーターは、会話の大部分をすでにメモリに保持しているサーバーに各リクエストを送信します。",
    "라우터는 대화의 대부분을 이미 메모리에 가지고 있는 서버로 각 요청을 보내므로 사용자가 오래 기다리지 않습니다.",
    "Bộ định tuyến gửi mỗi yêu cầu đến máy chủ đã lưu phần lớn cuộc trò chuyện trong bộ nhớ.",
    "Router wysyła każde żądanie do serwera, który ma już w pamięci większość rozmowy — użytkownik czeka krócej.",
    "Маршрутизатор надсилає кожен запит на сервер, у пам’яті якого вже є більша частина розмови.",
)


def prose() -> str:
    """English, as written: Python's reference."""
    return "\n".join(pydoc_data.topics.topics[name] for name in sorted(pydoc_data.topics.topics))


def code() -> str:
    """Python's own modules."""
    library = pathlib.Path(json.__file__).parents[1]
    names = ("argparse", "ast", "decimal", "_pydecimal", "inspect", "typing", "subprocess", "tarfile", "pickle")
    return "\n".join(path.read_text() for name in names if (path := library / f"{name}.py").exists())


def multilingual(chance: random.Random, size: int) -> str:
    """`size` characters: the sentences above with words changed, so that they are many."""
    words = {index: sentence.split(" ") for index, sentence in enumerate(SENTENCES)}
    lines, length = [], 0
    while length < size:
        language = chance.randrange(len(SENTENCES))
        line = [_changed(chance, word) for word in chance.sample(words[language], len(words[language]))]
        lines.append(("" if language in (10, 11) else " ").join(line))
        length += len(lines[-1]) + 1
    return "\n".join(lines)


def _changed(chance: random.Random, word: str) -> str:
    """A word of the same script that may never have been written: parts of it in another order, or one left out."""
    kind = chance.random()
    if kind < 0.5 or len(word) < 4:
        return word
    if len(word) > 20:  # languages without spaces
        letters = list(word)
        chance.shuffle(letters)
        return "".join(letters)
    cut = chance.randrange(1, len(word) - 1)
    return word[cut:] + word[:cut] if kind < 0.75 else word[:cut] + word[cut + 1 :]


def mixed(chance: random.Random, size: int) -> str:
    """What people write to models: questions, code in fences, JSON, tables of numbers, other languages."""
    prose_lines = [line for line in prose().split("\n\n") if len(line) > 80]
    code_lines = code().splitlines()
    parts, length = [], 0
    while length < size:
        kind = chance.random()
        if kind < 0.45:
            part = textwrap.dedent(chance.choice(prose_lines)).replace("\n", " ")
        elif kind < 0.7:
            start = chance.randrange(len(code_lines) - 30)
            part = "```python\n" + "\n".join(code_lines[start : start + chance.randrange(5, 30)]) + "\n```"
        elif kind < 0.8:
            rows = [
                {"id": chance.randrange(10**6), "ms": round(chance.random() * 900, 3), "ok": True} for _ in range(6)
            ]
            part = json.dumps(rows, indent=chance.choice((None, 2)))
        elif kind < 0.9:
            part = "\n".join(
                f"| {chance.randrange(10**4)} | {chance.random():.4f} | {chance.choice('αβγδ')} |" for _ in range(8)
            )
        else:
            part = multilingual(chance, 300)
        parts.append(part)
        length += len(part) + 2
    return "\n\n".join(parts)


def messages(chance: random.Random, count: int, size: int) -> list[str]:
    """Of a conversation: `count` mixed texts of about `size` characters."""
    return [mixed(chance, chance.randrange(size // 4, size * 7 // 4)) for _ in range(count)]


def rendered(name: str, texts: list[str]) -> str:
    """A conversation as the chat template of `name` writes it, special tokens and all."""
    begin, before, behind, roles = MARKS[name]
    turns = (before.format(role=roles[index % 2]) + text + behind for index, text in enumerate(texts))
    return begin + "".join(turns)
