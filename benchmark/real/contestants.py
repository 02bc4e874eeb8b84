"""Who is compared: routers of the side-by-side benchmark, ours with its policies, theirs with theirs."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import urllib.request
from typing import Sequence

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent / "peers"))

from processes import BenchError  # noqa: E402
from routers import ROUTERS, Router, Setting  # noqa: E402


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    router: Router
    policy: str
    nearest_only: bool = False
    options: tuple[str, ...] = ()

    def is_ours(self) -> bool:
        return self.router.name == "gotoni"

    def file_name(self) -> str:
        return self.name.replace(" ", "-")

    def command(self, setting: Setting) -> Sequence[object]:
        if self.nearest_only:
            setting = dataclasses.replace(setting, servers=setting.servers[:1])
        words = list(self.router.command(setting))
        if "--policy" in words:
            words[words.index("--policy") + 1] = self.policy
        return [*words, *self.options]

    def is_ready(self, url: str) -> bool:
        """Up, and every distance measured by who measures it."""
        path = "/proxy/status" if self.is_ours() else "/v1/models"
        with urllib.request.urlopen(f"{url}{path}", timeout=5) as answer:
            if not self.is_ours():
                return answer.status == 200
            servers = json.load(answer)["servers"]
        return len(servers) > 0 and all(
            each["healthy"] and each["latency"]["min_ms"] is not None for each in servers
        )


# The first of each router is its best known policy, or the only one.
FIELD = {
    contestant.name: contestant
    for contestant in (
        Contestant("gotoni predictive", ROUTERS["gotoni"], "predictive"),
        Contestant("gotoni gorgo", ROUTERS["gotoni"], "gorgo"),
        Contestant("gotoni prefix-tree", ROUTERS["gotoni"], "prefix-tree"),
        Contestant("gotoni session-affinity", ROUTERS["gotoni"], "session-affinity"),
        Contestant("gotoni least-load", ROUTERS["gotoni"], "least-load"),
        Contestant("gotoni least-request", ROUTERS["gotoni"], "least-request"),
        Contestant("gotoni power-of-two", ROUTERS["gotoni"], "power-of-two"),
        Contestant("gotoni round-robin", ROUTERS["gotoni"], "round-robin"),
        Contestant("gotoni random", ROUTERS["gotoni"], "random"),
        Contestant("smg cache_aware", ROUTERS["smg"], "cache_aware"),
        Contestant("smg prefix_hash", ROUTERS["smg"], "prefix_hash"),
        Contestant("smg round_robin", ROUTERS["smg"], "round_robin"),
        Contestant("sglang-router cache_aware", ROUTERS["sglang-router"], "cache_aware"),
        Contestant("vllm-router cache_aware", ROUTERS["vllm-router"], "cache_aware"),
        Contestant("envoy LEAST_REQUEST", ROUTERS["envoy"], "LEAST_REQUEST"),
        Contestant("haproxy leastconn", ROUTERS["haproxy"], "leastconn"),
        Contestant("haproxy nearest", ROUTERS["haproxy"], "leastconn", nearest_only=True),
    )
}


def named(words: Sequence[str]) -> list[Contestant]:
    """Names of the field, or of a router for all that it can."""
    chosen: list[Contestant] = []
    for word in words:
        found = [each for each in FIELD.values() if word in (each.name, each.router.name)]
        if not found:
            raise BenchError(f"there is no {word!r}; the field is: {', '.join(FIELD)}")
        chosen += [each for each in found if each not in chosen]
    return chosen
