"""A picker that is told to stop."""

from __future__ import annotations

import threading

from programs import fresh_text, until

from world import Picker, world


def what_is_under_way_ends_well() -> None:
    with world(engine=("--speed", "1")) as its:
        answers = []
        asking = threading.Thread(target=lambda: answers.append(its.envoy.chat(fresh_text(4_000), 60, stream=True)))
        asking.start()
        until("it is under way", lambda: its.picker.status()["under_way"] == 1)
        assert its.picker.stop() == 0, its.picker.words()
        asking.join()
        assert answers[0].status == 200 and answers[0].text.rstrip().endswith("[DONE]"), answers


def another_takes_over_without_a_failure() -> None:
    """Two at one port, one leaves: every request is served, and every one is picked."""
    with world("--reuse-port", "true") as its:
        second = Picker("--reuse-port", "true", servers=its.engines, grpc_port=its.picker.grpc_port)
        try:
            statuses = [its.envoy.chat(fresh_text(200)).status for _ in range(20)]
            ending = threading.Thread(target=its.picker.stop)
            ending.start()
            while ending.is_alive():
                statuses.append(its.envoy.chat(fresh_text(200)).status)
            ending.join()
            statuses += [its.envoy.chat(fresh_text(200)).status for _ in range(20)]
            assert set(statuses) == {200}, statuses
            assert len(second.records()) >= 20, len(second.records())
            second.until_quiet()
        finally:
            second.kill()
