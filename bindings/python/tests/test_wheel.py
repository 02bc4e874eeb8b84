"""The wheel contains the libraries, serves every Python 3 on this platform, and works where it is installed."""
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest
from conftest import LIBRARY, PACKAGE_ROOT, TOKENIZER_LIBRARY, needs_tokenizer

from gotoni import _abi

USE = """
import gotoni, pathlib
assert gotoni._abi._library._name == str(pathlib.Path(gotoni.__file__).with_name("libgotoni.so.0"))
with gotoni.Router() as router:
    router.add_server(1)
    with router.route([1, 2, 3]) as ticket:
        print("server", ticket.server)
"""


def sources() -> "set[Path]":
    return {path for path in PACKAGE_ROOT.rglob("*") if "__pycache__" not in path.parts}


def build(out: Path, library: Path, *options: "str | Path") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, PACKAGE_ROOT / "build_wheel.py", "--library", library, "--out", out, *options]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    before = sources()
    out = tmp_path_factory.mktemp("wheel")
    result = build(out, LIBRARY)
    assert result.returncode == 0, result.stderr
    assert sources() == before, "building leaves nothing in the source tree"
    (made,) = out.iterdir()
    return made


def test_the_wheel_is_for_any_python_on_this_platform(wheel: Path) -> None:
    platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
    assert wheel.name == f"gotoni-{_abi.GOTONI_VERSION}-py3-none-{platform}.whl"


def test_the_wheel_holds_the_library_and_the_types(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        assert archive.read("gotoni/libgotoni.so.0") == LIBRARY.read_bytes()
        assert not [name for name in names if "tokenizer.so" in name], "it was not asked for"
    modules = {f"gotoni/{path.name}" for path in (PACKAGE_ROOT / "gotoni").glob("*.py")}
    assert modules | {"gotoni/py.typed"} <= names


@needs_tokenizer
def test_a_wheel_with_the_tokenizer_holds_its_library_too(tmp_path: Path) -> None:
    result = build(tmp_path, LIBRARY, "--tokenizer", TOKENIZER_LIBRARY)
    assert result.returncode == 0, result.stderr
    (made,) = tmp_path.iterdir()
    with zipfile.ZipFile(made) as archive:
        assert archive.read("gotoni/libgotoni-tokenizer.so.0") == TOKENIZER_LIBRARY.read_bytes()


def test_the_wheel_works_where_it_is_installed(wheel: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = [python, "-m", "pip", "install", "--quiet", "--no-index", "--disable-pip-version-check", wheel]
    subprocess.run(install, check=True)
    environment = {name: value for name, value in os.environ.items() if name not in ("GOTONI_LIBRARY", "PYTHONPATH")}
    result = subprocess.run([python, "-c", USE], env=environment, cwd=tmp_path, capture_output=True, text=True)
    assert result.stdout == "server 1\n", result.stderr


def test_a_missing_library_is_named(tmp_path: Path) -> None:
    result = build(tmp_path, Path("/nowhere/libgotoni.so.0"))
    assert result.returncode == 2
    assert "there is no library at /nowhere/libgotoni.so.0" in result.stderr
    result = build(tmp_path, LIBRARY, "--tokenizer", "/nowhere/libgotoni-tokenizer.so.0")
    assert result.returncode == 2
    assert "there is no library at /nowhere/libgotoni-tokenizer.so.0" in result.stderr
