"""Prompts and the places of who asked them, out of conversations, and a report of what became of all of them."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import json
from typing import Any, Iterable, Iterator

from keys import conversation_in, conversation_key, prompt_key, text_of
from places import DEFAULT, Place, place_of
from rows import Row

TOP_PLACES = 10


@dataclasses.dataclass(frozen=True)
class Wishes:
    """Lengths in code points; turns count the user's messages from 1, and `max_turns` None is no limit."""

    min_prompt_length: int = 10
    multi_turn: bool = False
    min_turns: int = 1
    max_turns: int | None = None


@dataclasses.dataclass
class Report:
    """Counts. A collision is a prompt whose key was taken by another place: the first one keeps it."""

    rows_read: int = 0
    prompts_written: int = 0
    keys_written: int = 0
    dropped: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    repeated: int = 0
    same_prompt_other_place: int = 0
    other_prompt_other_place: int = 0
    other_prompt_same_place: int = 0
    places_unknown: int = 0
    unknown_countries: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    places: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def fields(self) -> dict[str, Any]:
        made = dataclasses.asdict(self)
        del made["places"], made["unknown_countries"]
        return {
            **made,
            "dropped": dict(self.dropped),
            "unknown_countries": dict(self.unknown_countries.most_common(TOP_PLACES)),
            "top_places": dict(self.places.most_common(TOP_PLACES)),
        }

    def text(self) -> str:
        lines = [
            f"{self.rows_read:,} conversations read",
            f"{self.prompts_written:,} prompts and {self.keys_written:,} keys written",
            *(f"  dropped, {why}: {count:,}" for why, count in sorted(self.dropped.items())),
            f"  the same prompt again, from the same place: {self.repeated:,}",
            f"  the same prompt from another place, the first stays: {self.same_prompt_other_place:,}",
            f"  another prompt of the same key from another place, the first stays: {self.other_prompt_other_place:,}",
            f"  another prompt of the same key from the same place: {self.other_prompt_same_place:,}",
            f"  of unknown places, put at {DEFAULT.lat}, {DEFAULT.lon}: {self.places_unknown:,}",
            *(f"    {name}: {count:,}" for name, count in self.unknown_countries.most_common(TOP_PLACES)),
            "most prompts come from",
            *(f"  {name}: {count:,}" for name, count in self.places.most_common(TOP_PLACES)),
        ]
        return "\n".join(lines)


class Preparation:
    """Goes through rows once. `lookup` grows with the prompts that are kept, which the number of rows bounds."""

    def __init__(self, wishes: Wishes) -> None:
        self.wishes = wishes
        self.report = Report()
        self.lookup: dict[str, dict[str, float | str | None]] = {}
        self._first: dict[str, tuple[Place, bytes]] = {}

    def entries(self, rows: Iterable[Row]) -> Iterator[dict[str, Any]]:
        """What is sent, one object for each prompt."""
        for row in rows:
            self.report.rows_read += 1
            found = self._turns(row) if self.wishes.multi_turn else self._single(row)
            for entry in found:
                self._locate(entry, row)
                self.report.prompts_written += 1
                yield entry
        self.report.keys_written = len(self.lookup)

    def _single(self, row: Row) -> Iterator[dict[str, Any]]:
        prompt = next((text_of(each) for each in row["conversation"] if each.get("role") == "user"), None)
        if prompt is None:
            self.report.dropped["no user message"] += 1
        elif len(prompt) < self.wishes.min_prompt_length:
            self.report.dropped["too short"] += 1
        elif conversation_in(prompt) is not None:
            self.report.dropped["a text that the proxy would take for a conversation"] += 1
        else:
            yield {"prompt": prompt, "hash": prompt_key(prompt)}

    def _turns(self, row: Row) -> Iterator[dict[str, Any]]:
        """Each user message with all that was said before it."""
        history: list[dict[str, str]] = []
        turn = 0
        for message in row["conversation"]:
            history.append({"role": str(message.get("role")), "content": text_of(message)})
            if message.get("role") != "user":
                continue
            turn += 1
            if len(text_of(message)) < self.wishes.min_prompt_length:
                self.report.dropped["too short"] += 1
            elif turn < self.wishes.min_turns or turn > (self.wishes.max_turns or turn):
                self.report.dropped["turn out of range"] += 1
            else:
                prompt = json.dumps(history, ensure_ascii=False)
                yield {"prompt": prompt, "hash": conversation_key(history), "turn": turn, "is_multi_turn": True}
        if turn == 0:
            self.report.dropped["no user message"] += 1

    def _locate(self, entry: dict[str, Any], row: Row) -> None:
        country, state = row.get("country") or None, row.get("state") or None
        place = place_of(country, state)
        if place is None:
            self.report.places_unknown += 1
            self.report.unknown_countries[country or "no country"] += 1
            place = Place(DEFAULT.lat, DEFAULT.lon, country, state)
        self.report.places[", ".join(name for name in (place.state, place.country) if name) or "unknown"] += 1
        digest = hashlib.sha256(entry["prompt"].encode("utf-8", "surrogatepass")).digest()
        if entry["hash"] not in self._first:
            self._first[entry["hash"]] = place, digest
            self.lookup[entry["hash"]] = place.fields()
            return
        first_place, first_digest = self._first[entry["hash"]]
        if first_digest == digest:
            self.report.repeated += first_place == place
            self.report.same_prompt_other_place += first_place != place
        else:
            self.report.other_prompt_same_place += first_place == place
            self.report.other_prompt_other_place += first_place != place
