"""Runs all checks of the node load balancer."""

import sys

import check_distance
import check_documents
import check_faults
import check_forwarding
import check_hops
import check_keys
import check_options
import check_partition
import check_traces
import check_waiting
import nodes
import programs
import runner

MODULES = (
    check_options,
    check_documents,
    check_keys,
    check_hops,
    check_forwarding,
    check_waiting,
    check_faults,
    check_partition,
    check_distance,
    check_traces,
)


def main() -> None:
    nodes.LB, programs.ENGINE, nodes.PROXY, *names = sys.argv[1:]
    programs.PROXY = nodes.PROXY
    sys.exit(0 if runner.run("gotoni-lb", MODULES, names) else 1)


if __name__ == "__main__":
    main()
