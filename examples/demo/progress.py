"""What goes on, on standard error."""

from __future__ import annotations

import sys


class Progress:
    """One line that changes on a terminal; plain lines, and fewer, elsewhere."""

    def __init__(self) -> None:
        self.is_terminal = sys.stderr.isatty()

    def say(self, text: str) -> None:
        if self.is_terminal:
            print(f"\r\033[K{text}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def count(self, text: str) -> None:
        """Like `say`, for what is said often."""
        if self.is_terminal:
            self.say(text)

    def clear(self) -> None:
        if self.is_terminal:
            self.say("")
