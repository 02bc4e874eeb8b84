"""Runs all checks of deploy/."""

import pathlib
import sys

import check_container
import check_kubernetes
import check_systemd
import material
import programs
import runner


def main() -> None:
    folder, *names = sys.argv[1:]
    material.BIN = pathlib.Path(folder)
    programs.PROXY, programs.ENGINE = f"{folder}/gotoni-proxy", f"{folder}/gotoni-engine"
    sys.exit(0 if runner.run("deploy/", (check_systemd, check_container, check_kubernetes), names) else 1)


if __name__ == "__main__":
    main()
