"""`gotoni` on the fake of Lambda's cloud: what the firewall lets in, and the rulesets of clusters."""

from __future__ import annotations

import json
import os
import pty
import subprocess
from collections.abc import Callable
from typing import Any

from accounts import account
from home import GOTONI, LIMIT_S, Home, process, until

HERE = "203.0.113.7"
ANYWHERE = "0.0.0.0/0"
PATCH = ("PATCH", "/firewall-rulesets/*")


def _rulesets(user: Home) -> list[dict[str, Any]]:
    return user.gotoni("firewall", "--json").ends(0).json()


def _rules(user: Home, ruleset: str = "global") -> list[str]:
    """Each as "protocol first-last source"."""
    (found,) = [each for each in _rulesets(user) if each["name"] == ruleset]
    return sorted(
        f"{rule['protocol']} {'-'.join(map(str, rule.get('port_range', [])))} {rule['source_network']}"
        for rule in found["rules"]
    )


def _launch(user: Home, name: str, *more: object) -> str:
    """Its id."""
    said = user.gotoni("launch", name, "-t", "gpu_1x_a10", "-y", "--json", *more)
    return said.ends(0).json()[0]["id"]


START = ["icmp  0.0.0.0/0", "tcp 22-22 0.0.0.0/0"]


def ports_are_opened_once_and_closed_again() -> None:
    with account() as (user, cloud):
        machine = _launch(user, "one")
        user.gotoni("firewall").ends(0, "global", "tcp", "22", ANYWHERE, "Allow SSH", "icmp", "-")
        asked = user.gotoni("firewall", "open", "8000-8080", "--from", HERE).ends(2, "Say --yes")
        assert f"+ tcp 8000-8080 from {HERE}/32 (gotoni)" in asked.out and "us-south-1" in asked.err
        shown = user.gotoni("firewall", "open", "8000-8080", "--from", HERE, "--dry-run").ends(0, "+ tcp 8000-8080")
        assert "Nothing was done" in shown.out and not cloud.seen(*PATCH)

        both = f"{HERE},198.51.100.0/24"
        user.gotoni("firewall", "open", "8000-8080", "--from", both, "-y").ends(0, "2 added", "done")
        assert _rules(user) == [*START, "tcp 8000-8080 198.51.100.0/24", f"tcp 8000-8080 {HERE}/32"]
        assert cloud.admits(machine, HERE, 8042) and cloud.admits(machine, "198.51.100.9", 8000)
        assert not cloud.admits(machine, HERE, 8081) and not cloud.admits(machine, "192.0.2.1", 8000)
        # All of it comes in already.
        again = user.gotoni("firewall", "open", "8010", "8020-8030", "--from", f"{HERE}/32,198.51.100.128/25")
        again.ends(0, "Nothing is to change")
        assert len(cloud.seen(*PATCH)) == 1

        user.gotoni("firewall", "close", "8000-8080", "--from", HERE).ends(2, "Say --yes")
        user.gotoni("firewall", "close", "8000-8080", "--from", HERE, "-y").ends(0, f"- tcp 8000-8080 from {HERE}/32")
        assert not cloud.admits(machine, HERE, 8042) and cloud.admits(machine, "198.51.100.9", 8000)
        user.gotoni("firewall", "close", "8000-8080", "-y").ends(0, "1 removed")
        user.gotoni("firewall", "close", "8000-8080", "-y").ends(0, "Nothing is to change")
        assert _rules(user) == START


def a_rule_that_lets_in_more_than_is_closed_stays_and_is_named() -> None:
    with account() as (user, cloud):
        for ports, source in (("8000-8080", ANYWHERE), ("9000", HERE)):
            user.gotoni("firewall", "open", ports, "--from", source, "-y").ends(0)
        before = _rules(user)
        said = user.gotoni("firewall", "close", "8042", "-y").ends(1, "Not all of it is closed")
        assert f"tcp 8000-8080 from {ANYWHERE}" in said.err
        user.gotoni("firewall", "close", "8000-8080", "--from", HERE, "-y").ends(1, "they stay")
        assert _rules(user) == before
        # One goes, one stays.
        user.gotoni("firewall", "close", "8001-9000", "-y").ends(1, "they stay")
        assert _rules(user) == [*START, "tcp 8000-8080 0.0.0.0/0"]
        # By all protocols is by TCP as well, but not the other way round.
        user.gotoni("firewall", "open", "8000", "--protocol", "udp", "--from", HERE, "-y").ends(0, "+ udp 8000")
        user.gotoni("firewall", "close", "8000-8080", "--protocol", "all", "-y").ends(0, "2 removed")
        assert _rules(user) == START
        assert cloud.seen(*PATCH)


def everybody_is_only_let_in_on_demand_and_with_a_warning() -> None:
    with account() as (user, cloud):
        user.gotoni("firewall", "open", "8080").ends(2, "--from")
        user.gotoni("firewall", "open", "8080", "--from", "").ends(2, "no IPv4 network")
        assert not cloud.seen(*PATCH)
        said = user.gotoni("firewall", "open", "8080", "--from", ANYWHERE, "-y").ends(0)
        assert "Warning: anybody can then reach tcp 8080" in said.err
        assert "anybody" not in user.gotoni("firewall", "open", "8081", "--from", HERE, "-y").ends(0).err
        assert "Warning: none of these rules then lets SSH in" in user.gotoni("firewall", "close", "22").ends(2).err
        assert "SSH" not in user.gotoni("firewall", "close", "8080").ends(2).err


def rules_that_are_none_are_refused_before_anything_is_asked() -> None:
    with account() as (user, cloud):
        for arguments, words in (
            (("open", "8000-7000", "--from", HERE), "8000-7000"),
            (("open", "0", "--from", HERE), "'0'"),
            (("open", "65536", "--from", HERE), "65536"),
            (("open", "--from", HERE), "tcp needs a port"),
            (("open", "80", "--protocol", "icmp", "--from", HERE), "icmp has no ports"),
            (("open", "80", "--protocol", "sctp", "--from", HERE), 'no protocol "sctp"'),
            (("open", "80", "--from", "10.0.0.1/8"), "that is 10.0.0.0/8"),
            (("open", "80", "--from", "300.0.0.1"), "no IPv4 network"),
            (("open", "80", "--from", "010.0.0.1"), "no IPv4 network"),
            (("open", "80", "--from", "1.2.3.4/33"), "no IPv4 network"),
            (("open", "80", "--from", "::1"), "no IPv4 network"),
            (("open", "80", "--from", HERE, "--description", "x" * 129), "128 characters at most"),
            (("replace",), "Give the rules once"),
            (("replace", "-r", f"tcp:80:{HERE}", "-j", "[]"), "Give the rules once"),
            (("replace", "-r", f"tcp:80-:{HERE}"), "no port"),
            (("replace", "-r", "tcp:80"), "is no rule"),
            (("replace", "-r", f"tcp::{HERE}"), "tcp needs a port"),
            (("replace", "-j", "{}"), "no JSON array"),
            (("replace", "-j", "["), "no JSON array"),
            (("replace", "-j", '[{"protocol": "tcp", "port": 80}]'), 'Rule 1: There is no "port"'),
            (("replace", "-j", '[{"protocol": "tcp", "port_range": [80, 80]}]'), "source_network must be there"),
            (("replace", "-j", json.dumps([_rule(ports=[80])])), "[FIRST, LAST]"),
            (("replace", "-j", json.dumps([_rule(), _rule(ports=[0, 80])])), "Rule 2: Ports are from 1"),
        ):
            user.gotoni("firewall", *arguments, "--yes").ends(2, words)
        assert not cloud.log


def _rule(ports: list[int] | None = None, source: str = HERE) -> dict[str, Any]:
    return {"protocol": "tcp", "port_range": ports or [80, 80], "source_network": source}


def the_rules_of_the_account_are_replaced() -> None:
    with account() as (user, cloud):
        rules = ["-r", f"tcp:8000-8080:{HERE}/32:a:b", "-r", "icmp::0.0.0.0/0:Allow ping", "-r", "udp:53:10.0.0.0/8"]
        said = user.gotoni("firewall", "replace", *rules).ends(2, "Say --yes")
        assert "SSH" in said.err and len(_rules(user)) == 2
        said = user.gotoni("firewall", "replace", *rules, "-y").ends(0, "2 added, 1 removed, 1 kept", "done")
        assert f"+ tcp 8000-8080 from {HERE}/32 (a:b)" in said.out and "- tcp 22 from 0.0.0.0/0 (Allow SSH)" in said.out
        assert "+ udp 53 from 10.0.0.0/8 (gotoni)" in said.out
        assert _rules(user) == ["icmp  0.0.0.0/0", f"tcp 8000-8080 {HERE}/32", "udp 53-53 10.0.0.0/8"]

        # As it was said for years: the array behind --json.
        said = user.gotoni("firewall", "replace", "--json", json.dumps([_rule()]), "-y").ends(0)
        assert said.json()["done"] is True and len(said.json()["removed"]) == 3
        # What is listed can be put back.
        listed = user.gotoni("firewall", "--json").ends(0).json()[0]["rules"]
        longer = json.dumps([*listed, _rule(source=ANYWHERE)])
        user.gotoni("firewall", "replace", "-", "-y", text=longer).ends(0, "1 kept")
        assert _rules(user) == ["tcp 80-80 0.0.0.0/0", f"tcp 80-80 {HERE}/32"]
        user.gotoni("firewall", "replace", "-j", "[]", "-y").ends(0, "2 removed")
        assert _rules(user) == []
        user.gotoni("firewall").ends(0, "lets nothing in")


def a_change_that_meets_another_one_is_not_made() -> None:
    with account() as (user, cloud):
        cloud.fail_next("/firewall-rulesets/global", 409, "global/conflict", method="PATCH")
        user.gotoni("firewall", "open", "80", "--from", HERE, "-y").ends(1, "changed by somebody else")
        assert _rules(user) == START and len(cloud.seen(*PATCH)) == 1
        # The whole list goes, so it may go twice.
        cloud.cut_next("/firewall-rulesets/global", method="PATCH")
        user.gotoni("firewall", "open", "80", "--from", HERE, "-y").ends(0, "done")
        assert _rules(user) == [*START, f"tcp 80-80 {HERE}/32"]


def who_is_asked_agrees_to_what_was_shown() -> None:
    with account() as (user, cloud):
        opening = ("firewall", "open", "80", "--from", HERE)
        assert _answer(user, opening, "n") == (1, "Nothing was done.")
        assert _answer(user, opening, "y") == (0, "")
        assert _rules(user) == [*START, f"tcp 80-80 {HERE}/32"]
        status, said = _answer(user, ("firewall", "replace", "-j", "[]"), "y", lambda: cloud.account.rules.pop())
        assert status == 1 and "were changed meanwhile" in said, said
        assert _rules(user) == START


def _answer(
    user: Home, arguments: tuple[str, ...], answer: str, before: Callable[[], object] = lambda: None
) -> tuple[int, str]:
    """Of somebody at a terminal; `before` the answer something happens. The status, and what is said after it."""
    here, there = pty.openpty()
    try:
        with process(
            GOTONI, *arguments, env=user.environment, stdin=there, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        ) as made:
            asked = b""
            while not asked.endswith(b"[y/N] "):
                part = os.read(made.stderr.fileno(), 4096)
                assert part, asked
                asked += part
            before()
            os.write(here, f"{answer}\n".encode())
            said = made.stderr.read().decode().strip()
            return made.wait(LIMIT_S), said
    finally:
        os.close(here)
        os.close(there)


def machines_of_a_cluster_share_a_ruleset_of_their_region() -> None:
    with account() as (user, cloud):
        user.gotoni("launch", "x", "-t", "gpu_1x_a10", "--cluster", "big one", "-y").ends(2, "no name of a cluster")
        user.gotoni("launch", "x", "-t", "gpu_1x_a10", "--cluster", "big", "--dry-run").ends(0)
        user.gotoni("launch", "x", "-t", "gpu_1x_a10", "--cluster", "big").ends(2, "Say --yes")
        assert not cloud.seen("POST")

        cloud.set_capacity("gpu_1x_a10", "us-east-1", 3)
        first = _launch(user, "one", "-r", "us-east-1", "--cluster", "big")
        second = _launch(user, "two", "-r", "us-east-1", "--cluster", "big", "--tag", "owner=me")
        west = _launch(user, "west", "-r", "us-west-1", "--cluster", "big")
        alone = _launch(user, "alone", "-r", "us-east-1")
        assert len(cloud.seen("POST", "/firewall-rulesets")) == 2
        machines = {each["id"]: each for each in user.gotoni("list", "--json").ends(0).json()}
        assert machines[first]["rulesets"] == machines[second]["rulesets"] != machines[west]["rulesets"]
        assert machines[alone]["rulesets"] == [] and "gotoni-cluster" not in machines[alone]["tags"]
        assert machines[second]["tags"]["gotoni-cluster"] == "big" and machines[second]["tags"]["owner"] == "me"

        east = ("--ruleset", "gotoni-big-us-east-1")
        user.gotoni("firewall", "open", "8000", "--from", HERE, *east, "-y").ends(0, "done")
        admitted = [each for each in (first, second, west, alone) if cloud.admits(each, HERE, 8000)]
        assert admitted == [first, second]
        user.gotoni("firewall", "open", "80", "--from", HERE, "--ruleset", "none", "-y").ends(5, 'no ruleset "none"')
        # SSH comes in by the ruleset alone as well, from where it came in before.
        assert _rules(user, "gotoni-big-us-west-1") == ["tcp 22-22 0.0.0.0/0"]
        user.gotoni("firewall", "replace", "-j", "[]", "-y").ends(0)
        assert cloud.admits(first, HERE, 22) and not cloud.admits(alone, HERE, 22)

        used = user.gotoni("firewall", "delete", "gotoni-big-us-east-1", "-y").ends(1, "is in use", first, second)
        assert not used.out
        user.gotoni("kill", "--all", "-y").ends(0)
        user.gotoni("firewall", "delete", "global", "-y").ends(2, "cannot be deleted")
        user.gotoni("firewall", "delete", "gotoni-big-us-east-1").ends(2, "Say --yes")
        until("its machines are gone", lambda: not any(each["machines"] for each in _rulesets(user)))
        user.gotoni("firewall", "delete", "gotoni-big-us-east-1", "gotoni-big-us-west-1", "-y").ends(0, "deleted")
        assert len(_rulesets(user)) == 1


def a_ruleset_that_got_no_answer_is_not_made_twice() -> None:
    with account() as (user, cloud):
        cloud.cut_next("/firewall-rulesets", method="POST")
        _launch(user, "one", "-r", "us-east-1", "--cluster", "cut")
        cloud.fail_next("/firewall-rulesets", 409, "global/conflict", method="POST")
        _launch(user, "two", "-r", "us-east-1", "--cluster", "conflict")
        names = [each["name"] for each in _rulesets(user)]
        assert names == ["global", "gotoni-conflict-us-east-1", "gotoni-cut-us-east-1"], names
        cloud.fail_next("/firewall-rulesets", 400, "global/quota-exceeded", method="POST")
        user.gotoni("launch", "three", "-t", "gpu_1x_a10", "--cluster", "full", "-y").ends(6, "global/quota-exceeded")
        assert len(cloud.launches()) == 2


def who_may_log_in_to_a_cluster_is_as_the_account_has_it() -> None:
    with account() as (user, cloud):
        rules = ["-r", f"tcp:20-30:{HERE}:office", "-r", "all:1-100:198.51.100.0/24", "-r", "tcp:80:192.0.2.0/24"]
        user.gotoni("firewall", "replace", *rules, "-y").ends(0)
        _launch(user, "one", "-r", "us-east-1", "--cluster", "few")
        assert _rules(user, "gotoni-few-us-east-1") == ["tcp 22-22 198.51.100.0/24", f"tcp 22-22 {HERE}/32"]
        user.gotoni("firewall", "replace", "-r", "tcp:80:192.0.2.0/24", "-y").ends(0)
        said = user.gotoni("launch", "two", "-t", "gpu_1x_a10", "-r", "us-east-1", "--cluster", "none", "-y")
        said.ends(0, "Warning: the global rules let no SSH in")
        assert _rules(user, "gotoni-none-us-east-1") == []


def a_region_without_a_firewall_gets_no_ruleset_and_it_says_so() -> None:
    with account() as (user, cloud):
        said = user.gotoni("launch", "one", "-t", "gpu_1x_a100", "-r", "us-south-1", "--cluster", "big", "-y")
        said.ends(0, "active", "Warning: firewall rules do not apply in us-south-1")
        (launch,) = cloud.launches()
        assert "firewall_rulesets" not in launch.body and not cloud.seen("POST", "/firewall-rulesets")
