"""How the C libraries are found and their functions declared: one way for all of them."""
import ctypes
import os
import pathlib
from typing import Any, Callable


def functions_of(library: ctypes.CDLL, name: str) -> Callable[..., Callable[..., Any]]:
    """What declares a function of `library`: by its name, its result and its arguments."""

    def declare(function_name: str, result: Any, *arguments: Any) -> Callable[..., Any]:
        try:
            function = getattr(library, function_name)
        except AttributeError:
            sentence = f"The loaded {name} has no function {function_name}: it is too old for this package."
            raise ImportError(sentence) from None
        function.restype = result
        function.argtypes = arguments
        return function

    return declare


def load(name: str, variable: str, user: str = "") -> ctypes.CDLL:
    """Loads the library from where `variable` says, else from beside this file, else from where the system looks.

    `user`: who needs it, if not the whole package.
    """
    named = os.environ.get(variable)
    packaged = pathlib.Path(__file__).with_name(name)
    path = named or (str(packaged) if packaged.exists() else name)
    try:
        return ctypes.CDLL(path)
    except OSError as error:
        if named:
            sentence = f"{variable} names {named!r}, which cannot be loaded: {error}."
        elif packaged.exists():
            sentence = f"The {name} inside this package cannot be loaded: {error}."
        else:
            missing = f"{user} needs {name}, which is not installed" if user else f"{name} is not installed"
            sentence = f"{missing}: install it, or set {variable} to its path ({error})."
        raise ImportError(sentence) from None
