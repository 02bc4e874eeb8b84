"""Every seed under every policy, each time from the same beginning."""

from __future__ import annotations

import asyncio
import gc
import os
import random
from typing import Mapping, Sequence

import play
import workload
import world
from progress import Progress

# By seed, then by policy.
Samples = dict[int, dict[str, list[play.Sample]]]


def all_of(users: Mapping[int, workload.Workload], policies: Sequence[str], it: world.World) -> tuple[Samples, float]:
    """The requests, and the highest load of the machine meanwhile."""
    progress = Progress()
    samples: Samples = {}
    load = 0.0
    for seed, asked in users.items():
        samples[seed] = {}
        # The order is drawn too: whoever comes first would otherwise always have the cooler machine.
        for policy in random.Random(seed).sample(policies, len(policies)):
            done = sum(len(of) for of in samples.values()) + 1
            title = f"{done} of {len(users) * len(policies)}: {policy}, seed {seed}"
            samples[seed][policy] = one(policy, f"{policy}-{seed}", asked, it, progress, title)
            load = max(load, os.getloadavg()[0])
    progress.clear()
    return samples, load


def one(
    policy: str, tag: str, users: workload.Workload, it: world.World, progress: Progress, title: str
) -> list[play.Sample]:
    """One policy, from empty caches, with every server known, connected and idle."""
    progress.say(f"{title}: warming up")
    it.settle()
    it.flush()
    it.proxy.set_policy("round-robin")
    asyncio.run(play.warm(users.systems, len(it.engines), it.host, it.port, f"warm-{tag}"))
    it.settle()
    it.proxy.clear_log()
    it.proxy.set_policy(policy)
    progress.say(f"{title}: {users.requests} requests")
    answered = 0

    def told(sample: play.Sample) -> None:
        nonlocal answered
        answered += 1
        progress.count(f"{title}: {answered} of {users.requests} requests")

    # What is there is not garbage; collecting it again and again would be heard in the times.
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        samples = asyncio.run(play.play(users, it.host, it.port, tag, told))
    finally:
        gc.enable()
    it.check()
    return play.joined(samples, it.proxy.log())
