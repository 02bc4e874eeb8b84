"""The documents say what is: module map, file list, make targets, code blocks, counts. One line per check."""
from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
failures: list[str] = []


def check(what: str, problems: list[str]) -> None:
    print(f"{'FAILED' if problems else 'ok'} {what}")
    failures.extend(f"{what}: {problem}" for problem in problems)


def read(path: str) -> str:
    return (ROOT / path).read_text()


def module_map() -> list[str]:
    """Rows of the table are the targets of the manifest; imports stay within the third column."""
    rows = re.findall(r"^\| `([\w-]+)` \| [^|]+ \|([^|]*)\|$", read("Sources/README.md"), re.M)
    allowed = {name: set(re.findall(r"`(\w+)`", cell)) for name, cell in rows}
    dump = subprocess.run(["swift", "package", "dump-package"], cwd=ROOT, capture_output=True, check=True)
    manifest = json.loads(dump.stdout)["targets"]
    targets = {t["name"] for t in manifest if t["type"] != "test" and not (t.get("path") or "").startswith("Tests/")}
    problems = [f"{name} is in the manifest or in the table only" for name in targets ^ allowed.keys()]
    for name in targets & allowed.keys():
        for source in (ROOT / "Sources" / name).rglob("*.swift"):
            imports = set(re.findall(r"^(?:@?\w+ )?import (\w+)", source.read_text(), re.M))
            problems += [f"{source.name} imports {other}" for other in sorted(imports - allowed[name])]
    return problems


def file_list() -> list[str]:
    """Every file of a module that is listed has a row, and every row a file; a folder's row stands for its files."""
    problems = []
    for module, section in re.findall(r"^## (\w+), file by file\n(.*?)(?=^## |\Z)", read("Sources/README.md"), re.M | re.S):
        listed = set(re.findall(r"^\| `([\w+/.]+)` \|", section, re.M))
        folder = ROOT / "Sources" / module
        files = {str(path.relative_to(folder)) for path in folder.rglob("*.swift")}
        covered = {f for f in files if any(row.endswith("/") and f.startswith(row) for row in listed)}
        rows = {row for row in listed if not row.endswith("/")}
        problems += [f"{module}: {name} has a row or a file only" for name in sorted((files - covered) ^ rows)]
    return problems


def make_targets() -> list[str]:
    targets = set(re.findall(r"^([\w-]+):", read("Makefile"), re.M))
    problems = []
    for document in ("README.md", "CONTRIBUTING.md", "benchmark/README.md", "benchmark/peers/README.md", "docs/scale.md", "examples/demo/README.md",
                     "picker/README.md"):
        # Commands only: in code, and not the word "make" of a sentence.
        code = " ".join(re.findall(r"`[^`]+`|^    .*$", read(document), re.M))
        problems += [f"{document}: make {t}" for t in re.findall(r"\bmake ([\w-]+)", code) if t not in targets]
    return problems


def links() -> list[str]:
    problems = []
    for document in [*ROOT.glob("*.md"), ROOT / "Sources/README.md", ROOT / "picker/README.md", *ROOT.glob("benchmark/**/README.md")]:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text()):
            if not (document.parent / target).exists():
                problems.append(f"{document.relative_to(ROOT)}: {target}")
    return problems


def python_block() -> list[str]:
    code = re.search(r"```python\n(.*?)```", read("README.md"), re.S)
    if code is None:
        return ["README.md has no Python"]
    run = subprocess.run([sys.executable, "-c", code[1]], capture_output=True, text=True)
    expected = re.search(r"# (1 0 [\d.]+), then (1 4096 [\d.]+)", code[1])
    if run.returncode == 0 and expected and run.stdout.split("\n")[:2] == [expected[1], expected[2]]:
        return []
    return [run.stdout + run.stderr]


def header_example() -> list[str]:
    """The program in the header's first comment compiles."""
    lines = read("include/gotoni.h").split("THE RULES")[0].splitlines()
    body = "\n".join(line[7:] for line in lines if line.startswith(" *     "))
    program = '#include "gotoni.h"\nint f(const uint32_t *tokens, size_t count, uint64_t now);\n'
    program += f"int f(const uint32_t *tokens, size_t count, uint64_t now) {{\n{body}\nreturn 0; }}\n"
    with tempfile.NamedTemporaryFile("w", suffix=".c") as source:
        source.write(program)
        source.flush()
        command = ["cc", "-std=c99", "-fsyntax-only", "-Werror", "-I", str(ROOT / "include"), source.name]
        run = subprocess.run(command, capture_output=True, text=True)
    return [run.stderr] if run.returncode else []


def counts() -> list[str]:
    header = re.sub(r"/\*.*?\*/", "", read("include/gotoni.h"), flags=re.S)
    functions = len(re.findall(r"\bgotoni_\w+\([^)]*\);", header))
    problems = [] if f"C ABI of {functions} functions" in read("CHANGELOG.md") else [f"the ABI has {functions} functions"]
    lines = [line for line in read("include/gotoni.h").splitlines() if line.strip()]
    prose = inside = 0
    for line in lines:
        inside = 1 if "/*" in line else inside
        prose += inside
        inside = 0 if "*/" in line else inside
    if prose / len(lines) < 0.6:
        problems.append(f"gotoni.h is {prose / len(lines):.0%} prose, 60 % is promised")
    return problems


def version() -> list[str]:
    places = {
        "include/gotoni.h": r'GOTONI_VERSION "([^"]+)"',
        "Sources/GotoniABI/Version.swift": r'cString\("([^"]+)"\)',
        "Makefile": r"^VERSION := (.+)$",
        "bindings/python/pyproject.toml": r'^version = "([^"]+)"',
        "Sources/gotoni/Gotoni.swift": r'number = "([^"]+)"',
        "Sources/GotoniService/Service.swift": r'version = "([^"]+)"',
        "Sources/gotoni-engine/GotoniEngine.swift": r'version: "([^"]+)"',
        "CHANGELOG.md": r"^## Unreleased \(([^)]+)\)|^## ([0-9.]+)",
    }
    found = {}
    for path, pattern in places.items():
        match = re.search(pattern, read(path), re.M)
        found[path] = next((group for group in match.groups() if group), "none") if match else "none"
    return [] if len(set(found.values())) == 1 else [f"{path} says {text}" for path, text in found.items()]


for name, function in [
    ("Sources/README.md: modules and imports", module_map),
    ("Sources/README.md: files", file_list),
    ("make targets that the documents name", make_targets),
    ("links", links),
    ("README.md: the Python block runs", python_block),
    ("gotoni.h: the example compiles", header_example),
    ("gotoni.h: counts and prose", counts),
    ("one version everywhere", version),
]:
    check(name, function())
for failure in failures:
    print(failure, file=sys.stderr)
sys.exit(1 if failures else 0)
