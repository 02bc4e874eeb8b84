"""Puts the libraries named by GOTONI_LIBRARY and, if set, GOTONI_TOKENIZER_LIBRARY into the wheel, and tags it for
this platform.

No Python ABI is involved, so one wheel serves every Python 3: py3-none-<platform>.
"""
import os
import pathlib
import shutil

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py


class BuildWithLibrary(build_py):
    def run(self) -> None:
        super().run()
        library = os.environ.get("GOTONI_LIBRARY")
        if not library:
            raise SystemExit("Set GOTONI_LIBRARY to the libgotoni.so.0 that the wheel shall contain.")
        package = pathlib.Path(self.build_lib, "gotoni")
        shutil.copyfile(library, package / "libgotoni.so.0")
        if tokenizer := os.environ.get("GOTONI_TOKENIZER_LIBRARY"):
            shutil.copyfile(tokenizer, package / "libgotoni-tokenizer.so.0")


class AnyPythonWheel(bdist_wheel):
    def get_tag(self) -> "tuple[str, str, str]":
        return "py3", "none", super().get_tag()[2]


class PlatformDistribution(Distribution):
    def has_ext_modules(self) -> bool:
        return True


setup(
    distclass=PlatformDistribution,
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": AnyPythonWheel},
)
