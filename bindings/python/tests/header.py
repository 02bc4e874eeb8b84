"""Reads the C contract as text: constants, structs and prototypes, comments removed."""
import re
from typing import NamedTuple

from conftest import HEADER

TEXT = re.sub(r"/\*.*?\*/", "", HEADER.read_text(), flags=re.DOTALL)


class Prototype(NamedTuple):
    result: str
    arguments: list[str]


def constants() -> dict[str, int]:
    enums = re.findall(r"enum \{(.*?)\};", TEXT, flags=re.DOTALL)
    found = {name: int(value) for body in enums for name, value in re.findall(r"(GOTONI_\w+) = (-?\d+)", body)}
    found["GOTONI_ABI_VERSION"] = int(re.findall(r"#define GOTONI_ABI_VERSION (\d+)", TEXT)[0])
    return found


def structs() -> dict[str, list[str]]:
    """Field names by struct."""
    bodies = re.findall(r"typedef struct (\w+) \{(.*?)\} \1;", TEXT, flags=re.DOTALL)
    return {name: re.findall(r"(\w+);", body) for name, body in bodies}


def prototypes() -> dict[str, Prototype]:
    found = {}
    for result, name, arguments in re.findall(r"^([\w *]+?)\b(gotoni_\w+)\(([^)]*)\);", TEXT, flags=re.MULTILINE):
        types = [_type(argument) for argument in arguments.split(",") if argument.strip() != "void"]
        found[name] = Prototype(result.strip(), types)
    return found


def _type(argument: str) -> str:
    """`const uint64_t *hashes` -> `const uint64_t *`."""
    return re.sub(r"\w+$", "", argument.strip()).strip()
