"""Builds the wheel of this package around a given library, without leaving anything in the source tree."""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
SOURCES = ("gotoni", "pyproject.toml", "setup.py", "README.md")
LICENSE = HERE.parent.parent / "LICENSE"
BUILD = "import sys, setuptools.build_meta as backend; backend.build_wheel(sys.argv[1])"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--library", type=pathlib.Path, required=True, help="the libgotoni.so.0 to put inside")
    parser.add_argument("--tokenizer", type=pathlib.Path, help="the libgotoni-tokenizer.so.0 to put beside it")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder for the wheel")
    options = parser.parse_args()
    libraries = {"GOTONI_LIBRARY": options.library, "GOTONI_TOKENIZER_LIBRARY": options.tokenizer}
    for library in filter(None, libraries.values()):
        if not library.is_file():
            parser.error(f"there is no library at {library}: build it first")
    given = {name: str(library.resolve()) if library else "" for name, library in libraries.items()}
    options.out.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory() as scratch:  # setuptools leaves build folders beside what it builds
        for name in SOURCES:
            copy(HERE / name, pathlib.Path(scratch, name))
        copy(LICENSE, pathlib.Path(scratch, "LICENSE"))
        build = subprocess.run(
            [sys.executable, "-c", BUILD, options.out.resolve()],
            cwd=scratch,
            env={**os.environ, **given},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,  # setuptools warns of what it never does here
        )
    if build.returncode:
        sys.exit(build.stderr.decode())


def copy(source: pathlib.Path, target: pathlib.Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copyfile(source, target)


if __name__ == "__main__":
    main()
