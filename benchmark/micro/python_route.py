"""The time of Router.route alone, called from Python: 4,096 tokens, 8 servers, the ctypes package.

One line of JSON on standard output. The prompt is new behind its first 55 % at every call.
"""

import json
import sys
import time
from array import array

import gotoni
import numpy

TOKENS = 4096
SHARED = TOKENS * 55 // 100
SERVERS = 8


def route_times(tokens, calls):
    router = gotoni.Router()
    for i in range(SERVERS):
        router.add_server(i + 1)
        router.observe_rtt(i + 1, rtt_ms=1 + i)
    samples = []
    for i in range(calls + calls // 10):
        tokens[SHARED] = i
        begin = time.perf_counter_ns()
        ticket = router.route(tokens)
        samples.append(time.perf_counter_ns() - begin)
        ticket.finish("ok")
    del samples[: calls // 10]  # the first tenth warms up
    samples.sort()
    return {"median_us": samples[calls // 2] / 1000, "p99_us": samples[calls * 99 // 100] / 1000}


def main(calls):
    uniform = numpy.random.default_rng(20261).integers(0, 151_936, TOKENS, dtype=numpy.uint32)
    kinds = {"numpy": uniform, "array": array("I", uniform.tolist())}
    return {kind: route_times(tokens, calls) for kind, tokens in kinds.items()}


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]))))
