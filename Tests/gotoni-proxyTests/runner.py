"""Runs checks: each function of a check_*.py without parameters is one property."""

import inspect
import sys
import time
import traceback
from collections.abc import Sequence
from types import ModuleType


def run(title: str, modules: Sequence[ModuleType], names: Sequence[str]) -> bool:
    """All checks, or those whose names contain one of `names`. True: some ran, and none failed."""
    passed, failed, started = 0, 0, time.monotonic()
    for module in modules:
        for name, check in inspect.getmembers(module, inspect.isfunction):
            is_check = check.__module__ == module.__name__ and not inspect.signature(check).parameters
            if not is_check or name.startswith("_") or (names and not any(part in name for part in names)):
                continue
            began = time.monotonic()
            try:
                check()
                passed += 1
                print(f"  ok      {time.monotonic() - began:5.2f} s  {name}", flush=True)
            except Exception:
                failed += 1
                print(f"  FAILED  {time.monotonic() - began:5.2f} s  {name}", flush=True)
                traceback.print_exc(file=sys.stdout)
                sys.stdout.flush()
    print(f"{title}: {passed} passed, {failed} failed ({time.monotonic() - started:.0f} s)")
    return passed > 0 and failed == 0
