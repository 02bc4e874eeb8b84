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
    parser.add_argument("--out", type=pathlib.Path, required=True, help="the folder for the wheel")
    options = parser.parse_args()
    if not options.library.is_file():
        parser.error(f"there is no library at {options.library}: build it first")
    options.out.mkdir(parents=True, exist_ok=True)

    with tempfile.TemporaryDirectory() as scratch:  # setuptools leaves build folders beside what it builds
        for name in SOURCES:
            copy(HERE / name, pathlib.Path(scratch, name))
        copy(LICENSE, pathlib.Path(scratch, "LICENSE"))
        build = subprocess.run(
            [sys.executable, "-c", BUILD, options.out.resolve()],
            cwd=scratch,
            env={**os.environ, "GOTONI_LIBRARY": str(options.library.resolve())},
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
