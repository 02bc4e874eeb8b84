"""What a sweep is pointed at: routers whose policy is set and whose memory is emptied before each run."""

from __future__ import annotations

import dataclasses
from typing import Any, Sequence

from control import BenchError, Control
from engines import Engine

Documents = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Router:
    """A gotoni-proxy (`kind` is proxy) or gotoni-lb (lb): the same calls below /proxy and /lb."""

    url: str
    kind: str
    control: Control

    def policies(self) -> list[str]:
        answer = self.control.json("GET", f"{self.url}/{self.kind}/policy")
        if not isinstance(answer, dict) or not isinstance(answer.get("available"), list):
            raise BenchError(f"{self.url}/{self.kind}/policy does not list policies: is it a gotoni-{self.kind}?")
        return [str(name) for name in answer["available"]]

    def set_policy(self, policy: str) -> None:
        """And looks whether it is in force."""
        self.control.json("POST", f"{self.url}/{self.kind}/policy", {"policy": policy})
        current = self.control.json("GET", f"{self.url}/{self.kind}/policy").get("current")
        if current != policy:
            raise BenchError(f"{self.url} was told {policy} and uses {current}")

    def clear(self) -> None:
        """What it remembers of prefixes, and its log of requests."""
        self.control.json("POST", f"{self.url}/{self.kind}/cache/clear")
        self.control.json("POST", f"{self.url}/proxy/metrics/clear")

    def document(self) -> Any:
        return self.control.json("GET", f"{self.url}/{self.kind}/status")

    def server_urls(self) -> list[str]:
        return [str(server["url"]) for server in self.control.json("GET", f"{self.url}/proxy/servers")]


@dataclasses.dataclass(frozen=True)
class GeoFront:
    """A geo_proxy.py, which chooses a node for each request; policies are the nodes'."""

    url: str
    control: Control

    def clear(self) -> None:
        self.control.text("POST", f"{self.url}/cache/clear")
        self.control.text("POST", f"{self.url}/stats/reset")

    def document(self) -> Any:
        return self.control.json("GET", f"{self.url}/stats")


@dataclasses.dataclass(frozen=True)
class Target:
    """Where requests go, who is asked to change policies, and the engines behind."""

    entry: str
    routers: Sequence[Router]
    engines: Sequence[Engine]
    geo: GeoFront | None = None
    keep_engine_caches: bool = False

    def check(self, policies: Sequence[str]) -> None:
        """Before anything runs: every router knows every policy, every engine can be asked."""
        for router in self.routers:
            known = router.policies()
            for policy in policies:
                if policy not in known:
                    raise BenchError(f"{router.url} has no policy {policy}; it has {', '.join(known)}")
        if self.geo is not None:
            self.geo.document()
        for engine in self.engines:
            if self.keep_engine_caches:
                engine.values()
            else:
                engine.wait_until_idle()

    def prepare(self, policy: str) -> None:
        """Sets the policy, empties every cache, in this order: routers also hear from engines what these hold."""
        for router in self.routers:
            router.set_policy(policy)
        if not self.keep_engine_caches:
            for engine in self.engines:
                engine.flush()
        for router in self.routers:
            router.clear()
        if self.geo is not None:
            self.geo.clear()

    def counted(self) -> Documents:
        """What engines and routers have counted so far, by address."""
        routers = {router.url: router.document() for router in self.routers}
        if self.geo is not None:
            routers[self.geo.url] = self.geo.document()
        return {"engines": {engine.url: engine.counters() for engine in self.engines}, "routers": routers}
