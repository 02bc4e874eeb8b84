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


def all_of(
    users: Mapping[int, workload.Workload], policies: Sequence[str], it: world.World, is_warm: bool
) -> tuple[Samples, float]:
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
            progress.say(f"{title}: preparing")
            prepare(it, f"{policy}-{seed}", asked.systems if is_warm else ())
            it.proxy.set_policy(policy)
            samples[seed][policy] = one(f"{policy}-{seed}", asked, it, progress, title)
            load = max(load, os.getloadavg()[0])
    progress.clear()
    return samples, load


def prepare(it: world.World, tag: str, systems: tuple[str, ...]) -> None:
    """Every server known, connected and idle, and nothing cached but, everywhere, `systems`."""
    it.settle()
    it.proxy.set_policy("round-robin")
    asyncio.run(play.connect(len(it.engines), it.host, it.port, f"hello-{tag}"))
    it.flush()
    asyncio.run(play.warm(systems, len(it.engines), it.host, it.port, f"warm-{tag}"))
    it.settle()
    it.proxy.clear_log()


def one(tag: str, users: workload.Workload, it: world.World, progress: Progress, title: str) -> list[play.Sample]:
    """All requests of one seed under the policy that is set."""
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
