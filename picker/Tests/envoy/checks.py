"""Runs all checks of the picker behind Envoy: checks.py PICKER PROXY ENGINE ENVOY [NAME…]"""

import sys

import world
import check_decisions
import check_faults
import check_listening
import check_refusals
import check_requests
import check_sharing
import check_stopping

import programs
import runner

MODULES = (check_requests, check_decisions, check_refusals, check_faults, check_stopping, check_listening, check_sharing)


def main() -> None:
    world.PICKER, programs.PROXY, programs.ENGINE, world.ENVOY, *names = sys.argv[1:]
    try:
        passed = runner.run("gotoni-picker", MODULES, names)
    finally:
        world.end_shared()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
