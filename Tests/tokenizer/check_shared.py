"""What a tokenizer remembers, and who else uses it, changes no id."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import corpus
import grammar
from context import SEED, chance, real, reference, specials
from native import Native

ROWS = ("deepseek", "qwen.tiktoken", "anthropic", "gpt2")
TINY, SMALL, HUGE = 1, 20_000, 1 << 40


def _texts(name: str) -> list[str]:
    """Sections of all lengths around the cache's smallest, and conversations that repeat them."""
    random = chance(f"shared {name}")
    row = next(row for row in real() if row.name == name)
    added = specials(reference(row.reference))
    texts = [text for whole in corpus.all_texts(SEED).values() for text in corpus.slices(whole, random, 25)]
    texts += [grammar.text(random, added) for _ in range(300)]
    parts = corpus.slices(corpus.all_texts(SEED)["mixed"], random, 30)
    texts += ["".join(part + random.choice(added) for part in random.sample(parts, 5)) for _ in range(60)]
    texts += [("x" * size) + random.choice(added) for size in range(50, 80)]
    return texts


def caches_change_nothing() -> None:
    for name in ROWS:
        row, texts = next(row for row in real() if row.name == name), _texts(name)
        right = [reference(row.reference).encode(text, add_special_tokens=False).ids for text in texts]
        for budget in (TINY, SMALL, 0, HUGE):
            tokenizer = Native.of(row.native, cache_bytes=budget)
            order = [*range(len(texts)), *range(len(texts))]
            chance(f"order {budget}").shuffle(order)
            for index in order:
                assert tokenizer.encode(texts[index]).tolist() == right[index], (name, budget, texts[index])


def threads_change_nothing() -> None:
    for name in ROWS:
        row, texts = next(row for row in real() if row.name == name), _texts(name)
        alone = Native.of(row.native, cache_bytes=TINY)
        right = [alone.encode(text).tolist() for text in texts]
        for budget in (SMALL, 0):
            tokenizer = Native.of(row.native, cache_bytes=budget)

            def work(number: int) -> None:
                order = [*range(len(texts))] * 3
                chance(f"thread {number}").shuffle(order)
                for index in order:
                    assert tokenizer.encode(texts[index]).tolist() == right[index], (name, budget, texts[index])

            with ThreadPoolExecutor(4) as pool:
                list(pool.map(work, range(4)))


def twenty_tokenizers_at_once() -> None:
    """More threads than encoders are kept, and tokenizers that come and go."""
    row = next(row for row in real() if row.name == "gpt2")
    right = Native.of(row.native).encode("Hello, world! " * 50)

    def work(number: int) -> None:
        tokenizer = Native.of(row.native)
        for _ in range(20):
            assert tokenizer.encode("Hello, world! " * 50) == right

    with ThreadPoolExecutor(24) as pool:
        list(pool.map(work, range(24)))
