"""Runs all checks: each function of a check_*.py without parameters is one property of the engine."""

import inspect
import sys
import traceback

import check_answers
import check_faults
import check_limits
import check_starting
import check_times
import engine


def main():
    engine.PROGRAM, *names = sys.argv[1:]
    passed, failed = 0, 0
    for module in (check_starting, check_answers, check_times, check_limits, check_faults):
        for name, check in inspect.getmembers(module, inspect.isfunction):
            is_check = check.__module__ == module.__name__ and not inspect.signature(check).parameters
            if not is_check or (names and not any(part in name for part in names)):
                continue
            try:
                check()
                passed += 1
            except Exception:
                failed += 1
                print(f"{name} failed:", file=sys.stderr)
                traceback.print_exc()
    print(f"gotoni-engine: {passed} passed, {failed} failed")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
