"""Runs all checks: each function of a check_*.py without parameters is one property of the proxy."""

import inspect
import sys
import time
import traceback

import check_access
import check_chaos
import check_control
import check_faults
import check_headers
import check_leaving
import check_limits
import check_queue
import check_requests
import check_settings
import check_stopping
import check_times
import check_tls
import programs

MODULES = (
    check_settings,
    check_requests,
    check_headers,
    check_access,
    check_control,
    check_limits,
    check_queue,
    check_leaving,
    check_faults,
    check_stopping,
    check_tls,
    check_times,
    check_chaos,
)


def main() -> None:
    programs.PROXY, programs.ENGINE, *names = sys.argv[1:]
    passed, failed, started = 0, 0, time.monotonic()
    for module in MODULES:
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
    programs.end_shared()
    print(f"gotoni-proxy: {passed} passed, {failed} failed ({time.monotonic() - started:.0f} s)")
    sys.exit(1 if failed or not passed else 0)


if __name__ == "__main__":
    main()
