"""The mirror in _abi.py says exactly what gotoni.h says, and the library is found where promised."""
import os
import shutil
import subprocess
import sys
from ctypes import POINTER, Structure, c_char_p, c_double, c_int32, c_size_t, c_uint32, c_uint64, c_void_p, sizeof
from pathlib import Path
from typing import Any

import pytest
from conftest import HEADER, LIBRARY, PACKAGE_ROOT
from header import Header

from gotoni import _abi

CONTRACT = Header(HEADER)
MIRRORS: dict[str, type[Structure]] = {
    name: value
    for name, value in vars(_abi).items()
    if isinstance(value, type) and issubclass(value, Structure) and value is not Structure
}

# Memory lent to C is passed by address; results come back through typed pointers.
C_TYPES: dict[str, Any] = {
    "void": None,
    "const char *": c_char_p,
    "const void *": c_void_p,
    "void *": c_void_p,
    "gotoni_router *": c_void_p,
    "gotoni_router **": POINTER(c_void_p),
    "gotoni_status": c_int32,
    "gotoni_status *": POINTER(c_int32),
    "uint32_t": c_uint32,
    "uint32_t *": POINTER(c_uint32),
    "uint64_t": c_uint64,
    "uint64_t *": POINTER(c_uint64),
    "const uint64_t *": c_void_p,
    "size_t": c_size_t,
    "size_t *": POINTER(c_size_t),
    "double": c_double,
    "double *": POINTER(c_double),
    **{f"{const}{name} *": POINTER(mirror) for name, mirror in MIRRORS.items() for const in ("", "const ")},
}


def test_constants_equal_the_header() -> None:
    mirrored = {
        name: value for name, value in vars(_abi).items() if name.startswith("GOTONI_") and name != "GOTONI_VERSION"
    }
    assert mirrored == CONTRACT.constants()
    assert f'#define GOTONI_VERSION "{_abi.GOTONI_VERSION}"' in HEADER.read_text()


def test_every_struct_is_mirrored_with_the_same_fields() -> None:
    mirrored = {name: [field[0] for field in mirror._fields_] for name, mirror in MIRRORS.items()}
    assert mirrored == CONTRACT.structs()


def test_struct_layout_equals_what_the_c_compiler_says(tmp_path: Path) -> None:
    expected: list[str] = []
    prints: list[str] = []
    for name, mirror in MIRRORS.items():
        expected.append(f"{name} {sizeof(mirror)}")
        prints.append(f'printf("{name} %zu\\n", sizeof({name}));')
        for field in (field[0] for field in mirror._fields_):
            place = getattr(mirror, field)
            expected.append(f"{name}.{field} {place.offset} {place.size}")
            size = f"sizeof((({name} *)0)->{field})"
            prints.append(f'printf("{name}.{field} %zu %zu\\n", offsetof({name}, {field}), {size});')
    source = tmp_path / "layout.c"
    source.write_text('#include <stdio.h>\n#include "gotoni.h"\nint main(void) {' + "\n".join(prints) + "}\n")
    program = tmp_path / "layout"
    subprocess.run(["cc", "-I", HEADER.parent, "-o", program, source], check=True)
    assert subprocess.run([program], capture_output=True, text=True, check=True).stdout.splitlines() == expected


def test_every_prototype_is_bound_with_its_types() -> None:
    bound = {
        name: (value.restype, list(value.argtypes))
        for name, value in vars(_abi).items()
        if name.startswith("gotoni_") and name not in MIRRORS
    }
    declared = {
        name: (C_TYPES[prototype.result], [C_TYPES[argument] for argument in prototype.arguments])
        for name, prototype in CONTRACT.prototypes().items()
    }
    assert len(declared) > 40
    assert bound == declared


def test_sections_come_in_the_order_of_the_header() -> None:
    def sections(text: str) -> list[str]:
        return [line.split("===== ")[1].split(" =")[0] for line in text.splitlines() if "===== " in line]

    assert sections(Path(_abi.__file__).read_text()) == sections(HEADER.read_text())


# ===== Finding the library


def import_gotoni(package_root: Path, library: str) -> "subprocess.CompletedProcess[str]":
    """Imports the package in a fresh interpreter; `library` is the value of GOTONI_LIBRARY."""
    environment = {**os.environ, "PYTHONPATH": str(package_root), "GOTONI_LIBRARY": library}
    command = [sys.executable, "-c", "import gotoni; print(gotoni.__version__)"]
    return subprocess.run(command, env=environment, cwd=package_root, capture_output=True, text=True)


def copy_of_package(folder: Path) -> Path:
    shutil.copytree(PACKAGE_ROOT / "gotoni", folder / "gotoni", ignore=shutil.ignore_patterns("__pycache__", "*.so*"))
    return folder


def compiled(folder: Path, source: str) -> Path:
    (folder / "other.c").write_text(source)
    library = folder / "other.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, folder / "other.c"], check=True)
    return library


def test_a_named_library_that_does_not_load_is_an_error_naming_it() -> None:
    result = import_gotoni(PACKAGE_ROOT, "/nowhere/libgotoni.so.0")
    assert "ImportError: GOTONI_LIBRARY names '/nowhere/libgotoni.so.0', which cannot be loaded" in result.stderr


def test_the_packaged_library_comes_before_the_system(tmp_path: Path) -> None:
    package = copy_of_package(tmp_path)
    shutil.copyfile(LIBRARY, package / "gotoni" / "libgotoni.so.0")
    assert import_gotoni(package, "").stdout.strip() == _abi.GOTONI_VERSION


def test_a_damaged_packaged_library_is_an_error(tmp_path: Path) -> None:
    package = copy_of_package(tmp_path)
    (package / "gotoni" / "libgotoni.so.0").write_bytes(b"not a library")
    result = import_gotoni(package, "")
    assert "ImportError: The libgotoni.so.0 inside this package cannot be loaded" in result.stderr


def test_a_library_found_nowhere_says_what_to_do(tmp_path: Path) -> None:
    package = copy_of_package(tmp_path)
    code = (
        "import ctypes\n"
        "def refuse(path): raise OSError('not found: ' + path)\n"
        "ctypes.CDLL = refuse\n"  # the machine that runs this test may have gotoni installed
        "import gotoni"
    )
    environment = {**os.environ, "PYTHONPATH": str(package), "GOTONI_LIBRARY": ""}
    result = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert "ImportError: libgotoni.so.0 is not installed: install it, or set GOTONI_LIBRARY" in result.stderr
    assert "not found: libgotoni.so.0" in result.stderr


def test_another_abi_is_refused(tmp_path: Path) -> None:
    library = compiled(
        tmp_path, 'unsigned gotoni_abi_version(void) { return 7; }\nconst char *gotoni_version(void) { return "7"; }'
    )
    result = import_gotoni(PACKAGE_ROOT, str(library))
    assert "ImportError: The loaded libgotoni.so.0 has ABI 7, but this package needs ABI 0." in result.stderr


def test_a_library_without_our_functions_is_refused(tmp_path: Path) -> None:
    library = compiled(tmp_path, "int something_else;")
    result = import_gotoni(PACKAGE_ROOT, str(library))
    assert "ImportError: The loaded libgotoni.so.0 has no function gotoni_abi_version" in result.stderr
