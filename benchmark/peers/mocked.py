"""The streaming client of the mocker cells: Dynamo's engines answer with random words, and say how much was cached.

    python3 mocked.py --ports 30000 --bodies bodies.txt --streams 4 --requests 96 --tokens 16 --seed 1

Prints one line of JSON. A stream that is not answered with status 200, all its tokens and their usage is an error.
"""

from __future__ import annotations

import json
import sys

import stream
from statistics_of import percentile


class Record(stream.Record):
    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.tokens = tokens  # that every answer must have
        self.prompt_tokens = 0
        self.cached_tokens = 0
        self.whole: list[int] = []  # from the request to its end, in nanoseconds


class Mocked(stream.Stream):
    """One connection with one request at a time."""

    record: Record

    def send(self) -> None:
        self.usage: dict[str, object] | None = None
        super().send()

    def count(self, now: int) -> None:
        """Takes whole events from the body; a piece of one stays for the next read."""
        events, separator, rest = self.body.rpartition(b"\n\n")
        if not separator:
            return
        self.body = rest
        found = 0
        for event in events.split(b"\n\n"):
            if not event.startswith(b"data: {"):  # the last one, and comments
                continue
            value = json.loads(event.removeprefix(b"data: "))
            self.usage = value.get("usage") or self.usage
            found += sum(bool(choice["delta"].get("content")) for choice in value["choices"])
        if found:
            since = self.record.gaps if self.expected else self.record.first
            since.append(now - self.last)
            self.last = now
        self.expected += found
        self.record.chunks += found

    def finish(self) -> None:
        usage = self.usage or {}
        if b" 200 " not in self.head.split(b"\r\n")[0]:
            self.fail(self.head.split(b"\r\n")[0].decode(errors="replace"))
        elif usage.get("completion_tokens") != self.record.tokens:
            self.fail(f"{usage.get('completion_tokens')} tokens came of {self.record.tokens}")
        else:
            details = usage.get("prompt_tokens_details")
            self.record.prompt_tokens += int(str(usage["prompt_tokens"]))
            self.record.cached_tokens += details["cached_tokens"] if isinstance(details, dict) else 0
            self.record.whole.append(self.last - self.begin)
            self.send()


def main() -> int:
    parser = stream.arguments_of(__doc__)
    parser.add_argument("--tokens", type=int, required=True, help="that every answer must have")
    arguments = parser.parse_args()
    record = Record(arguments.tokens)
    stream.run(arguments, record, Mocked, spread_s=0)  # no clock beats here
    print(json.dumps(figures(record)))
    sys.stdout.flush()
    return 0


def figures(record: Record) -> dict[str, object]:
    milliseconds = {
        f"{name}_p{p}_ms": percentile(values, p) / 1e6
        for name, values in (("ttft", record.first), ("gap", record.gaps), ("whole", record.whole))
        for p in (50, 99)
    }
    return {
        "streams": len(record.whole),
        "chunks": record.chunks,
        "hit_share": record.cached_tokens / record.prompt_tokens if record.prompt_tokens else float("nan"),
        "errors": len(record.errors),
        "error_examples": sorted(set(record.errors))[:3],
        **milliseconds,
    }


if __name__ == "__main__":
    sys.exit(main())
