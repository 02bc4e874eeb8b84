"""Takes apart what comes over an HTTP/1.1 connection, piece by piece, as it comes."""

from __future__ import annotations


class WireError(Exception):
    """The other side does not speak the HTTP/1.1 that this benchmark relies on."""


class Reader:
    """One message after the other, requests or responses: a head, pieces of body, an end.

    reader = Reader()
    for kind, value in reader.feed(data):  # ("head", bytes), ("body", bytes), ("end", b"")
    """

    def __init__(self) -> None:
        self.buffer = b""
        self.state = "head"
        self.left = 0  # bytes of body, or of one chunk, that have not come yet

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        self.buffer += data
        found: list[tuple[str, bytes]] = []
        while self.step(found):
            pass
        return found

    def step(self, found: list[tuple[str, bytes]]) -> bool:
        """Takes one thing from the buffer; false if more bytes are needed."""
        if self.state == "head":
            return self.take_head(found)
        if self.state in ("length", "chunk"):
            return self.take_body(found)
        line = self.take_line()
        if line is None:
            return False
        if self.state == "size":
            self.left = int(line.split(b";")[0], 16)
            self.state = "chunk" if self.left else "trailer"
        elif self.state == "after":  # the empty line behind a chunk
            self.state = "size"
        elif line == b"":  # the end of the trailer
            self.finish(found)
        return True

    def take_line(self) -> bytes | None:
        line, separator, rest = self.buffer.partition(b"\r\n")
        if not separator:
            return None
        self.buffer = rest
        return line

    def take_head(self, found: list[tuple[str, bytes]]) -> bool:
        head, separator, rest = self.buffer.partition(b"\r\n\r\n")
        if not separator:
            return False
        self.buffer = rest
        found.append(("head", head))
        fields = header_fields(head)
        if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
            self.state = "size"
        elif b"content-length" in fields:
            self.left = int(fields[b"content-length"])
            self.state = "length"
            if self.left == 0:
                self.finish(found)
        elif head.startswith(b"HTTP/"):
            raise WireError("a response without a length: its connection cannot be kept")
        else:
            self.finish(found)
        return True

    def take_body(self, found: list[tuple[str, bytes]]) -> bool:
        if not self.buffer:
            return False
        piece, self.buffer = self.buffer[: self.left], self.buffer[self.left :]
        self.left -= len(piece)
        found.append(("body", piece))
        if self.left == 0 and self.state == "length":
            self.finish(found)
        elif self.left == 0:
            self.state = "after"
        return True

    def finish(self, found: list[tuple[str, bytes]]) -> None:
        self.state = "head"
        found.append(("end", b""))


def header_fields(head: bytes) -> dict[bytes, bytes]:
    lines = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.strip().lower(): value.strip() for name, _, value in lines}
