"""Runs all checks of the native tokenizer."""

import faulthandler
import sys

import check_limits
import check_made
import check_real
import check_shared
import runner
from context import SEED


def main() -> None:
    faulthandler.enable()  # a crash of the library says in which check
    print(f"seed {SEED}")
    passed = runner.run("tokenizer", (check_made, check_limits, check_shared, check_real), sys.argv[1:])
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
