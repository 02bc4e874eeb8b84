"""Runs all checks of the proxy."""

import sys

import check_access
import check_chaos
import check_control
import check_faults
import check_headers
import check_kv_events
import check_leaving
import check_limits
import check_queue
import check_requests
import check_settings
import check_sharing
import check_slow_sibling
import check_stopping
import check_times
import check_tls
import check_tokens
import programs
import runner

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
    check_tokens,
    check_kv_events,
    check_sharing,
    check_slow_sibling,
    check_times,
    check_chaos,
)


def main() -> None:
    programs.PROXY, programs.ENGINE, *names = sys.argv[1:]
    try:
        passed = runner.run("gotoni-proxy", MODULES, names)
    finally:
        programs.end_shared()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
