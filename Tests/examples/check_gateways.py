"""Runs the checks of both gateways."""

import sys

import check_asgi
import check_nginx
import gateways
import programs
import runner


def main() -> None:
    programs.ENGINE, gateways.LIBRARY, *names = sys.argv[1:]
    sys.exit(0 if runner.run("gateways of examples/", (check_nginx, check_asgi), names) else 1)


if __name__ == "__main__":
    main()
