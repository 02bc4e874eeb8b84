"""Pickers share as proxies do: see the proxy's checks for all that is to be said of it."""

from __future__ import annotations

import json

from nats import nats
from programs import fresh_text, started, until

from world import Envoy, Picker, world


def two_pickers_know_each_others_prompts() -> None:
    """Each behind an Envoy of its own: what one has sent to a server the other one finds there."""
    with nats() as server, world("--nats", server.url, "--nats-group", "pickers") as its:
        other = Picker("--nats", server.url, "--nats-group", "pickers", servers=its.engines)
        envoy = Envoy([engine.port for engine in its.engines], other.place)
        with started(other, envoy):
            for picker in (its.picker, other):
                until("they hear each other", lambda picker=picker: picker.status()["sharing"]["siblings"] == 1)
            sides = [(its.envoy, its.picker), (envoy, other)]
            for number in range(6):
                (one_envoy, one), (other_envoy, second) = sides if number % 2 == 0 else sides[::-1]
                identity, text = f"sharing-{number}", fresh_text(16_000)
                assert one_envoy.chat(text, headers={"x-request-id": identity}).status == 200
                there = one.record(identity)
                body = {"model": "simulated", "messages": [{"role": "user", "content": text}]}

                def known() -> bool:
                    found = second.post("/proxy/explain?endpoint=/v1/chat/completions", body)["decisions"][0]["candidates"]
                    held = {row["server"]: row["matched_tokens"] for row in found}
                    return held[there["selected_server_id"]] >= 0.95 * there["tokens"]

                until("the other one knows it", known)
                assert other_envoy.chat(text, headers={"x-request-id": identity}).status == 200
                here = second.record(identity)
                assert here["selected_server_id"] == there["selected_server_id"], (here, there)
                # The engine says so as well.
                assert here["cached_tokens"] >= 0.9 * here["tokens"], json.dumps(here)
            other.until_quiet()
