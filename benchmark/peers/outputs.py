"""Whether results can be written, which is asked before they are measured."""

from __future__ import annotations

import pathlib
from typing import Iterable


def check_writable(paths: Iterable[pathlib.Path]) -> None:
    """Makes their folders, and opens each file as it will be opened. Errors: OSError."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        is_new = not path.exists()
        path.open("ab").close()
        if is_new:
            path.unlink()
