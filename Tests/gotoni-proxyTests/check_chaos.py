"""The judges of the chaos run: what none may do is found."""

from __future__ import annotations

import chaos_self_test


def the_judges_of_the_chaos_run_can_fail() -> None:
    missed = chaos_self_test.missed()
    assert not missed, missed
