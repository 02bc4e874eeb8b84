"""The image has what the programs need. It is not built here."""

from __future__ import annotations

import re

import material
from material import DEPLOY, ROOT, said

# In every image of Debian: glibc, and what apt itself needs. (gotoni-engine is not in ours.)
BASE = {"libc6", "libgcc-s1"}
PROGRAMS = ("gotoni", "gotoni-lb", "gotoni-proxy")


def packages_are_those_of_the_libraries_that_programs_need() -> None:
    """Neither one too few nor one too many; certificates besides."""
    libraries = {library for program in PROGRAMS for library in _libraries(program)}
    needed = {_package_of(library) for library in libraries}
    assert len(needed) > 3, needed
    assert _packages(_stages()[1]) == needed - BASE | {"ca-certificates"}, (needed, _stages()[1])


def packages_to_build_are_those_that_the_checkout_asks_for() -> None:
    text = (ROOT / "scripts/check-deps").read_text()
    always = text[: text.index("case $purpose")] + text[text.index("esac\npython3 -c") :]
    asked = set(re.findall(r"^need \S+ (\S+)", always, re.M)) | set(re.findall(r'missing="\$missing ([\w.+-]+)"', always))
    assert len(asked) > 8 and asked <= _packages(_stages()[0]) | {"python3"}, asked - _packages(_stages()[0])
    assert "make" in _packages(_stages()[0])


def programs_are_copied_from_where_they_are_built() -> None:
    (copied,) = re.findall(r"^COPY --from=build (.*) /usr/local/bin/$", _stages()[1], re.M)
    assert copied.split() == [f"/source/build/bin/{program}" for program in PROGRAMS]
    assert all((material.BIN / program).exists() for program in PROGRAMS)


def nobody_is_root_and_settings_are_settings() -> None:
    final = _stages()[1]
    (user,) = re.findall(r"^USER (\d+):\d+$", final, re.M)
    assert int(user) > 0
    ((name, value),) = re.findall(r"^ENV (\w+)=(\S+)$", final, re.M)
    settings = material.in_force("gotoni-proxy", ["--server", "http://127.0.0.1:1"], {name: value})
    assert name == "GOTONI_LISTEN" and settings["listen"] == value, settings


def _stages() -> list[str]:
    text = (DEPLOY / "container/Containerfile").read_text()
    first, second = text.split("\nFROM ")[1:]
    return [first, second]


def _packages(stage: str) -> set[str]:
    (found,) = re.findall(r"apt-get install -y --no-install-recommends((?: +\\\n| +[\w.+-]+)+)", stage)
    return set(found.replace("\\", " ").split())


def _libraries(program: str) -> list[str]:
    return re.findall(r"\(NEEDED\).*\[(.*)\]", said(["readelf", "-d", str(material.BIN / program)]))


def _package_of(library: str) -> str:
    if library.startswith("ld-linux"):
        return "libc6"
    # Debian's machines have /lib in /usr, and packages name either.
    lines = said(["dpkg", "-S", f"*/{library}"]).splitlines()
    packages = {line.split(":")[0] for line in lines if re.search(rf"(?:^|: )/(?:usr/)?lib/[^/]*/{re.escape(library)}$", line)}
    assert len(packages) == 1, (library, lines)
    return packages.pop()
