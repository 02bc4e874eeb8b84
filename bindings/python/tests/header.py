"""Reads a C contract as text: constants, structs and prototypes, comments removed."""
import re
from pathlib import Path
from typing import NamedTuple


class Prototype(NamedTuple):
    result: str
    arguments: list[str]


class Header:
    def __init__(self, path: Path) -> None:
        self.text = re.sub(r"/\*.*?\*/", "", path.read_text(), flags=re.DOTALL)

    def constants(self) -> dict[str, int]:
        enums = re.findall(r"enum \{(.*?)\};", self.text, flags=re.DOTALL)
        found = {name: int(value) for body in enums for name, value in re.findall(r"(GOTONI_\w+) = (-?\d+)", body)}
        defines = re.findall(r"^#define (GOTONI_\w+) (\d+)u?$", self.text, flags=re.MULTILINE)
        return {**found, **{name: int(value) for name, value in defines}}

    def structs(self) -> dict[str, list[str]]:
        """Field names by struct."""
        bodies = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", self.text, flags=re.DOTALL)
        return {name: re.findall(r"(\w+);", body) for name, body in bodies}

    def prototypes(self) -> dict[str, Prototype]:
        found = {}
        pattern = r"^([\w *]+?)\b(gotoni_\w+)\(([^)]*)\);"
        for result, name, arguments in re.findall(pattern, self.text, flags=re.MULTILINE):
            types = [_type(argument) for argument in arguments.split(",") if argument.strip() != "void"]
            found[name] = Prototype(result.strip(), types)
        return found


def _type(argument: str) -> str:
    """`const uint64_t *hashes` -> `const uint64_t *`."""
    return re.sub(r"\w+$", "", argument.strip()).strip()
