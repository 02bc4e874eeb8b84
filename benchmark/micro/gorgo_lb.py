"""gorgo-lb 0.2.0 on the same prompts: `rows` (route gorgo-2d + insert) and `memory` (bytes per unique token).

One line of JSON on standard output. Placement, distances and loads are the formulas of support.c.
"""

import gc
import json
import os
import sys
import time
from array import array

from gorgo import RadixTrie, ReplicaSnapshot, RouteContext, make_default_store
from gorgo.policy.gorgo import route_gorgo_2d


def read_prompts(path, tokens, count):
    with open(path, "rb") as file:
        for _ in range(count):
            prompt = array("I")
            prompt.fromfile(file, tokens)
            yield prompt


def placement(index, servers):
    return (index * 2654435761 % 2**32 >> 7) % servers


def url(index):
    return f"http://10.0.{index // 250}.{index % 250 + 1}:8000"


def rows(path, tokens, servers, warmed, timed):
    urls = [url(i) for i in range(servers)]
    snapshots = {
        u: ReplicaSnapshot(
            num_running_reqs=0, num_queue_reqs=1, num_used_tokens=0, latency=0.1, network_rtt=(1 + i * 37 % 100) / 1000
        )
        for i, u in enumerate(urls)
    }
    queued = {u: i * 7919 % 50 * 100 for i, u in enumerate(urls)}
    none = dict.fromkeys(urls, 0)
    store = make_default_store()
    trie = RadixTrie()
    samples = []
    for i, prompt in enumerate(read_prompts(path, tokens, warmed + timed)):
        ids = prompt.tolist()
        if i < warmed:
            trie.insert(ids, urls[placement(i, servers)])
            continue
        # Building the context is not timed.
        context = RouteContext(
            replica_urls=urls,
            metrics=snapshots,
            endpoints_queued_tokens=queued,
            endpoints_queued_uncached_tokens=queued,
            endpoints_inflight_requests=none,
            radix_trie=trie,
            token_ids=ids,
            request_tokens=len(ids),
            hyperparameters=store,
        )
        begin = time.perf_counter_ns()
        decision = route_gorgo_2d(context)
        trie.insert(ids, decision.target)
        samples.append(time.perf_counter_ns() - begin)
    samples.sort()
    return {"median_us": samples[timed // 2] / 1000, "p99_us": samples[timed * 99 // 100] / 1000}


def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def memory(path, tokens, count):
    """Prompts stay array('I') here: lists of Python integers would leave holes that count as growth."""
    gc.collect()
    before = resident_bytes()
    trie = RadixTrie()
    for i, prompt in enumerate(read_prompts(path, tokens, count)):
        trie.insert(prompt, url(placement(i, 128)))
    gc.collect()
    grown = resident_bytes() - before
    unique = trie.unique_token_count()
    return {"tokens": tokens, "unique_tokens": unique, "rss_bytes_per_token": grown / unique}


if __name__ == "__main__":
    measure = {"rows": rows, "memory": memory}[sys.argv[1]]
    print(json.dumps(measure(sys.argv[2], *map(int, sys.argv[3:]))))
