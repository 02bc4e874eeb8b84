"""Runs all checks of the tokenizer service."""

import sys

import check_limits
import check_models
import check_protocol
import check_sockets
import check_stopping
import check_templates
import check_tokens
import check_transformers
import runner
import service_process

MODULES = (
    check_tokens,
    check_templates,
    check_transformers,
    check_protocol,
    check_models,
    check_limits,
    check_sockets,
    check_stopping,
)


def main() -> None:
    try:
        passed = runner.run("gotoni-tokenizer", MODULES, sys.argv[1:])
    finally:
        service_process.end_shared()
    sys.exit(0 if passed else 1)


if __name__ == "__main__":
    main()
