"""The fake of Lambda's cloud: what it promises, and what a client by others and Lambda's own document say of it."""

from __future__ import annotations

import base64
import contextlib
import datetime
import importlib.util
import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import lambda_cloud
from lambda_account import MOST, OPERATIONS
from lambda_cloud import KEY, PREFIX, Asked, LambdaCloud
from lambda_rules import USER_DATA
from lambda_world import TYPES
from wire import Answer, Broken, Raw, ask, request

LAUNCH = "/instance-operations/launch"
TERMINATE = "/instance-operations/terminate"
RESTART = "/instance-operations/restart"
PUBLIC = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI" + "A" * 43 + " somebody"
A100 = ("gpu_1x_a100", "us-west-2")
SSH = {"protocol": "tcp", "port_range": [22, 22], "source_network": "198.51.100.7", "description": "ssh"}
BOOT_S, END_S = 60.0, 30.0


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def goes(self, seconds: float) -> None:
        self.now += seconds


class User:
    """A client of the fake, which has one key there."""

    def __init__(self, **options: Any) -> None:
        self.clock = Clock()
        self.cloud = LambdaCloud(**{"clock": self.clock, "boot_seconds": BOOT_S, "end_seconds": END_S, **options})
        self.key = self.cloud.add_key("mine", PUBLIC)

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        headers = {"authorization": f"Bearer {KEY}", **headers}
        return ask(self.cloud.port, method, PREFIX + path, body, headers)

    def get(self, path: str) -> Any:
        return self.data("GET", path)

    def data(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.ask(method, path, body)
        assert answer.status == 200 and set(answer.json()) == {"data"}, answer
        assert answer.field("content-type") == "application/json", answer
        return answer.json()["data"]

    def refused(self, status: int, code: str, method: str, path: str, body: Any = None) -> dict[str, str]:
        answer = self.ask(method, path, body)
        error = answer.json()["error"]
        assert (answer.status, error["code"]) == (status, code), answer
        assert error["message"] and set(error) <= {"code", "message", "suggestion"}, answer
        return error

    def invalid(self, method: str, path: str, body: Any = None) -> None:
        self.refused(400, "global/invalid-parameters", method, path, body)

    def launch(self, **more: Any) -> str:
        (id,) = self.data("POST", LAUNCH, wish(**more))["instance_ids"]
        return id

    def terminate(self, *ids: str) -> list[Any]:
        return self.data("POST", TERMINATE, {"instance_ids": ids})["terminated_instances"]

    def status(self, id: str) -> str:
        return self.get(f"/instances/{id}")["status"]

    def regions(self, type: str) -> list[str]:
        return [place["name"] for place in self.get("/instance-types")[type]["regions_with_capacity_available"]]


def wish(**more: Any) -> dict[str, Any]:
    return {"instance_type_name": A100[0], "region_name": A100[1], "ssh_key_names": ["mine"], **more}


@contextlib.contextmanager
def user(**options: Any) -> Iterator[User]:
    made = User(**options)
    with made.cloud:
        yield made


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def a_key_is_taken_in_each_of_its_spellings_and_no_other_one_is() -> None:
    with user() as me:
        for given in (f"Bearer {KEY}", f"bearer {KEY}", _basic(f"{KEY}:"), f"Basic {KEY}"):
            assert me.ask("GET", "/instances", authorization=given).status == 200, given
        for given in ("", KEY, "Bearer ", "Bearer other", _basic("other:"), _basic(f"{KEY}:x"), f"Digest {KEY}"):
            answer = me.ask("GET", "/instances", authorization=given)
            assert (answer.status, answer.json()["error"]["code"]) == (401, "global/invalid-api-key"), (given, answer)
        assert ask(me.cloud.port, "GET", PREFIX + "/instances").status == 401
        me.cloud.is_inactive = True
        me.refused(403, "global/account-inactive", "GET", "/instances")
        assert me.ask("GET", "/instances", authorization="Bearer other").status == 401


def an_instance_boots_and_ends_by_the_clock_alone() -> None:
    with user() as me:
        id = me.launch(name="one", hostname="node-a", tags=[{"key": "gotoni-launch", "value": "x"}])
        found = me.get(f"/instances/{id}")
        assert found["status"] == "booting" and not {"ip", "private_ip", "hostname"} & set(found), found
        assert found["actions"]["restart"] == {
            "available": False,
            "reason_code": "vm-has-not-launched",
            "reason_description": "The instance has not launched yet.",
        }
        me.clock.goes(BOOT_S - 1)
        assert me.status(id) == "booting"
        me.clock.goes(1)
        (found,) = me.get("/instances")
        assert (found["status"], found["ip"], found["hostname"]) == ("active", "127.0.0.1", "node-a"), found
        assert found["name"] == "one" and found["tags"] == [{"key": "gotoni-launch", "value": "x"}], found
        assert found["actions"]["restart"] == {"available": True} and found["jupyter_token"] in found["jupyter_url"]
        (ended,) = me.terminate(id)
        assert ended["status"] == "terminating" and not ended["actions"]["terminate"]["available"], ended
        # Once more changes nothing, also not when it is over.
        me.clock.goes(END_S - 1)
        assert me.terminate(id)[0]["status"] == "terminating" and len(me.get("/instances")) == 1
        me.clock.goes(1)
        assert me.get("/instances") == []
        for method, path in (("GET", f"/instances/{id}"), ("POST", f"/instances/{id}")):
            me.refused(404, "global/object-does-not-exist", method, path, {"name": "x"} if method == "POST" else None)
        for path in (TERMINATE, RESTART):
            me.refused(404, "global/object-does-not-exist", "POST", path, {"instance_ids": [id]})


def an_ended_instance_may_be_listed_for_a_while() -> None:
    with user(linger_seconds=100.0) as me:
        id = me.launch()
        me.terminate(id)
        me.clock.goes(END_S)
        assert me.status(id) == "terminated" and me.regions(A100[0])[0] == A100[1]
        me.clock.goes(100)
        assert me.get("/instances") == []


def one_unknown_instance_leaves_the_others_as_they_are() -> None:
    with user() as me:
        ids = [me.launch(), me.launch()]
        me.clock.goes(BOOT_S)
        for path in (TERMINATE, RESTART):
            me.refused(404, "global/object-does-not-exist", "POST", path, {"instance_ids": [*ids, "nobody"]})
            me.invalid("POST", path, {"instance_ids": []})
        assert {found["status"] for found in me.get("/instances")} == {"active"}
        assert [found["id"] for found in me.terminate(*ids, ids[0])] == ids


def a_launch_takes_capacity_and_termination_gives_it_back() -> None:
    with user() as me:
        assert A100[1] in me.regions(A100[0])
        ids = [me.launch() for _ in range(2)]
        assert A100[1] not in me.regions(A100[0])
        me.refused(400, "instance-operations/launch/insufficient-capacity", "POST", LAUNCH, wish())
        me.terminate(ids[0])
        me.refused(400, "instance-operations/launch/insufficient-capacity", "POST", LAUNCH, wish())
        me.clock.goes(END_S)
        assert A100[1] in me.regions(A100[0])
        me.launch()
        me.cloud.set_capacity(*A100, 1)
        assert A100[1] in me.regions(A100[0])
        # A type that is nowhere stays listed.
        nowhere = TYPES[-1].name
        assert me.regions(nowhere) == [] and set(me.get("/instance-types")) == {kind.name for kind in TYPES}
        asked = wish(instance_type_name=nowhere)
        me.refused(400, "instance-operations/launch/insufficient-capacity", "POST", LAUNCH, asked)


def many_launches_at_once_take_no_more_than_there_is() -> None:
    with user() as me:
        me.cloud.set_capacity(*A100, 5)
        found: list[int] = []
        threads = [
            threading.Thread(target=lambda: found.append(me.ask("POST", LAUNCH, wish()).status)) for _ in range(20)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(found) == [200] * 5 + [400] * 15 and len(me.get("/instances")) == 5, found
        assert len(me.cloud.launches()) == 20


def what_cannot_be_launched_says_why() -> None:
    with user(quota=1) as me:
        no, here = "global/object-does-not-exist", "us-west-1"
        for more, status, code in (
            ({"ssh_key_names": ["nobody"]}, 404, no),
            ({"instance_type_name": "gpu_9x"}, 404, no),
            ({"file_system_names": ["none"]}, 404, no),
            ({"file_system_mounts": [{"mount_point": "/data/x", "file_system_id": "none"}]}, 404, no),
            ({"firewall_rulesets": [{"id": "none"}]}, 404, no),
            ({"image": {"id": "none"}}, 404, no),
            ({"image": {"family": "none"}}, 404, no),
        ):
            me.refused(status, code, "POST", LAUNCH, wish(**more))
        me.data("POST", "/filesystems", {"name": "far", "region": here})
        wrong = "instance-operations/launch/file-system-in-wrong-region"
        me.refused(400, wrong, "POST", LAUNCH, wish(file_system_names=["far"]))
        far = me.data("POST", "/firewall-rulesets", {"name": "far", "region": here, "rules": []})
        me.invalid("POST", LAUNCH, wish(firewall_rulesets=[{"id": far["id"]}]))
        me.cloud.set_billing_address(False)
        me.refused(403, "global/invalid-address", "POST", LAUNCH, wish())
        me.cloud.set_billing_address(True)
        assert me.get("/instances") == []
        me.launch()
        me.refused(400, "global/quota-exceeded", "POST", LAUNCH, wish())


def a_launch_is_refused_unless_each_field_is_as_documented() -> None:
    rows: dict[str, tuple[list[Any], list[Any]]] = {
        "ssh_key_names": ([], [[], ["mine", "mine"], "mine", None, [1]]),
        "region_name": ([], ["nowhere", "", 1, None]),
        "quantity": ([1], [0, 2, "1", None, True]),
        "name": (["", "x" * 64], ["x" * 65, None, 1]),
        "hostname": (["a", "0-a", "a" * 63], ["", "A", "-a", "a" * 64, "a.b", "a\n"]),
        "tags": (
            [[], [{"key": "a-b:9", "value": ""}], [{"key": "a" * 55, "value": "x" * 128}]],
            [[{"key": key, "value": ""}] for key in ("", "a", "A-", "9a", "a_b", "a" * 56)]
            + [[{"key": "ab", "value": "x" * 129}], [{"key": "ab"}], [{"key": "ab", "value": "", "x": 1}], {}],
        ),
        "user_data": (["#cloud-config\n", "x" * USER_DATA], ["x" * (USER_DATA + 1), "é" * USER_DATA, None]),
        "image": ([{"family": "lambda-stack-24-04"}], [{}, {"family": "a", "id": "b"}, "lambda-stack-24-04"]),
        "file_system_mounts": ([[]], [[{"mount_point": "/etc", "file_system_id": "x"}], [{"mount_point": "/data"}]]),
        "min_count": ([], [1]),
    }
    with user() as me:
        me.cloud.set_capacity(*A100, 100)
        for name, (good, bad) in rows.items():
            for value in good:
                me.launch(**{name: value})
            for value in bad:
                me.invalid("POST", LAUNCH, wish(**{name: value}))
        for name in ("region_name", "instance_type_name", "ssh_key_names"):
            me.invalid("POST", LAUNCH, {key: value for key, value in wish().items() if key != name})
        for body in (b"", b"{", b"[]", b"null", b"\xff", b"[" * 100_000, b'"x"'):
            me.invalid("POST", LAUNCH, body)
        assert len(me.get("/instances")) == sum(len(good) for good, _ in rows.values())


def what_was_launched_can_be_read_by_the_check_alone() -> None:
    """user_data is never shown; the log has all that was asked."""
    with user() as me:
        id = me.launch(user_data="#cloud-config\nsecret")
        assert me.cloud.user_data(id) == "#cloud-config\nsecret"
        assert "secret" not in json.dumps(me.get("/instances")) and id in me.cloud.instances()
        (launch,) = me.cloud.launches()
        assert launch.body == wish(user_data="#cloud-config\nsecret") and launch.status == 200 and launch.done, launch
        assert (launch.time, launch.method, launch.path, launch.route) == (1000.0, "POST", LAUNCH, LAUNCH), launch
        assert [asked.path for asked in me.cloud.log] == [LAUNCH, "/instances"]
        assert KEY not in repr(me.cloud.log)


def addresses_come_from_a_list_and_come_back_to_it() -> None:
    with user(boot_seconds=0.0, end_seconds=0.0, private_network=None) as me:
        me.cloud.set_capacity(*A100, 9)
        ids = [me.launch() for _ in range(3)]
        found = me.cloud.instances()
        assert [found[id]["ip"] for id in ids] == ["127.0.0.1", "127.0.0.2", "127.0.0.3"], found
        assert not any("private_ip" in one for one in found.values()), found
        me.terminate(ids[1])
        id = me.launch()
        assert me.cloud.instances()[id]["ip"] == "127.0.0.2"
        # Where all are taken they are begun again.
        me.cloud.set_ips("127.0.0.9")
        ids = [me.launch() for _ in range(2)]
        assert {me.cloud.instances()[id]["ip"] for id in ids} == {"127.0.0.9"}


def a_restart_boots_again_and_only_what_is_active() -> None:
    with user() as me:
        id = me.launch()
        body = {"instance_ids": [id]}
        me.refused(409, "global/conflict", "POST", RESTART, body)
        me.clock.goes(BOOT_S)
        (found,) = me.data("POST", RESTART, body)["restarted_instances"]
        assert (found["status"], found["ip"]) == ("booting", "127.0.0.1"), found
        me.clock.goes(BOOT_S)
        assert me.status(id) == "active"
        for status in ("unhealthy", "preempted", "terminating"):
            me.cloud.set_status(id, status)
            found = me.get(f"/instances/{id}")
            assert found["status"] == status and not found["actions"]["restart"]["available"], found
            me.refused(409, "global/conflict", "POST", RESTART, body)


def an_instance_is_renamed_by_its_id() -> None:
    with user() as me:
        id = me.launch(name="old")
        assert me.data("POST", f"/instances/{id}", {"name": "new"})["name"] == "new"
        assert me.data("POST", f"/instances/{id}", {})["name"] == "new"
        for body in ({"name": "x" * 65}, {"name": None}, {"hostname": "x"}):
            me.invalid("POST", f"/instances/{id}", body)
        me.refused(404, "global/object-does-not-exist", "POST", "/instances/new", {"name": "x"})


def keys_are_taken_or_made_and_a_made_one_fits() -> None:
    with user() as me:
        given = me.data("POST", "/ssh-keys", {"name": "given", "public_key": PUBLIC})
        assert set(given) == {"id", "name", "public_key"} and given["public_key"] == PUBLIC, given
        made = me.data("POST", "/ssh-keys", {"name": "made"})
        file = pathlib.Path(tempfile.mkdtemp()) / "key.pem"
        file.write_text(made["private_key"])
        file.chmod(0o400)
        assert made["private_key"].startswith("-----BEGIN RSA PRIVATE KEY-----\n"), made
        told = subprocess.run(["ssh-keygen", "-y", "-f", file], check=True, capture_output=True, text=True).stdout
        assert told.split()[:2] == made["public_key"].split()[:2], (told, made)
        # It is shown once.
        assert "private_key" not in json.dumps(me.get("/ssh-keys")) and len(me.get("/ssh-keys")) == 3
        me.launch(ssh_key_names=["made"])
        for body in (
            {"name": "made", "public_key": PUBLIC},
            {"name": ""},
            {"name": "x" * 65},
            {"public_key": PUBLIC},
            *({"name": "x", "public_key": text} for text in ("", "ssh-rsa", "ssh-rsa AAAA", "ssh-rsa \xe9", None)),
            {"name": "x", "public_key": PUBLIC.replace("ssh-ed25519", "ssh-rsa")},
            {"name": "x", "public_key": PUBLIC + "\n" + PUBLIC},
            {"name": "x", "public_key": PUBLIC + "x" * 4096},
        ):
            me.invalid("POST", "/ssh-keys", body)
        assert me.data("DELETE", f"/ssh-keys/{made['id']}") == {}
        me.invalid("DELETE", f"/ssh-keys/{made['id']}")
        me.refused(404, "global/object-does-not-exist", "POST", LAUNCH, wish(ssh_key_names=["made"]))


def file_systems_are_listed_and_made_under_two_spellings() -> None:
    with user() as me:
        place = A100[1]
        held = me.data("POST", "/filesystems", {"name": "models", "region": place})
        assert held["mount_point"] == "/lambda/nfs/models" and held["is_in_use"] is False, held
        me.refused(400, "global/duplicate", "POST", "/filesystems", {"name": "models", "region": place})
        for name in ("", "9a", "a_b", "a" * 61, "a\n"):
            me.invalid("POST", "/filesystems", {"name": name, "region": place})
        for method, path in (("GET", "/filesystems"), ("POST", "/file-systems"), ("DELETE", "/file-systems/x")):
            me.refused(404, "global/not-found", method, path, {} if method == "POST" else None)
        mounts = [{"mount_point": "/data/models", "file_system_id": held["id"]}]
        id = me.launch(file_system_names=["models"], file_system_mounts=mounts)
        found = me.get(f"/instances/{id}")
        assert (found["file_system_names"], found["file_system_mounts"]) == (["models"], mounts), found
        assert me.get("/file-systems")[0]["is_in_use"] is True
        me.refused(400, "filesystems/filesystem-in-use", "DELETE", f"/filesystems/{held['id']}")
        me.terminate(id)
        me.clock.goes(END_S)
        assert me.data("DELETE", f"/filesystems/{held['id']}") == {"deleted_ids": [held["id"]]}
        me.refused(404, "global/object-does-not-exist", "DELETE", f"/filesystems/{held['id']}")
        assert me.get("/file-systems") == []


def rules_of_the_account_are_replaced_as_a_whole() -> None:
    with user() as me:
        assert len(me.get("/firewall-rules")) == 2
        (rule,) = me.data("PUT", "/firewall-rules", {"data": [SSH]})
        # One address without a mask is a network of one.
        assert rule == SSH | {"source_network": "198.51.100.7/32"}, rule
        assert me.get("/firewall-rules") == [rule] == me.get("/firewall-rulesets/global")["rules"]
        ping = {"protocol": "icmp", "source_network": "10.0.0.0/8", "description": ""}
        assert me.data("PATCH", "/firewall-rulesets/global", {"rules": [ping]})["rules"] == [ping]
        assert me.data("PATCH", "/firewall-rulesets/global", {})["rules"] == [ping] == me.get("/firewall-rules")
        wrong: list[dict[str, Any]] = [
            *({"port_range": ports} for ports in ([22], [1, 2, 3], [0, 1], [1, 65536], [2, 1], ["1", "2"], None)),
            *({"source_network": text} for text in ("", "::/0", "10.0.0.1/8", "1.2.3.4/33", "host", None, 1)),
            *({"description": text} for text in ("x" * 129, None)),
            {"protocol": "sctp"},
            {"protocol": "icmp"},
            {"action": "allow"},
        ]
        for change in wrong:
            me.invalid("PUT", "/firewall-rules", {"data": [SSH | change]})
        for name in SSH:
            me.invalid("PUT", "/firewall-rules", {"data": [{key: SSH[key] for key in SSH if key != name}]})
        me.invalid("PUT", "/firewall-rules", [SSH])
        assert me.get("/firewall-rules") == [ping]


def rulesets_are_made_changed_and_held_by_instances() -> None:
    with user() as me:
        body = {"name": "mesh", "region": A100[1], "rules": [SSH]}
        made = me.data("POST", "/firewall-rulesets", body)
        path = f"/firewall-rulesets/{made['id']}"
        assert made["instance_ids"] == [] and me.get("/firewall-rulesets") == [made] == [me.get(path)]
        assert me.data("PATCH", path, {"name": "other"})["rules"] == made["rules"]
        assert me.data("PATCH", path, {"rules": []})["name"] == "other"
        me.invalid("PATCH", path, {"region": A100[1]})
        me.invalid("POST", "/firewall-rulesets", body | {"name": "x" * 65})
        id = me.launch(firewall_rulesets=[{"id": made["id"]}])
        assert me.get(f"/instances/{id}")["firewall_rulesets"] == [{"id": made["id"]}]
        assert me.get(path)["instance_ids"] == [id]
        me.refused(400, "firewall-rulesets/firewall-ruleset-in-use", "DELETE", path)
        me.terminate(id)
        me.clock.goes(END_S)
        assert me.data("DELETE", path) == {} and me.get("/firewall-rulesets") == []
        for method in ("GET", "PATCH", "DELETE"):
            me.refused(404, "global/object-does-not-exist", method, path, {} if method == "PATCH" else None)


def rules_let_in_what_they_say_but_not_in_the_region_without_firewall() -> None:
    with user(boot_seconds=0.0) as me:
        me.data("PUT", "/firewall-rules", {"data": [SSH]})
        rule = SSH | {"port_range": [8000, 8080], "source_network": "10.0.0.0/8"}
        made = me.data("POST", "/firewall-rulesets", {"name": "mesh", "region": A100[1], "rules": [rule]})
        id, other = me.launch(firewall_rulesets=[{"id": made["id"]}]), me.launch()
        south = me.launch(region_name="us-south-1")
        for machine, source, port, expected in (
            (id, "198.51.100.7", 22, True),
            (id, "198.51.100.8", 22, False),
            (id, "198.51.100.7", 23, False),
            (id, "10.1.2.3", 8080, True),
            (other, "10.1.2.3", 8080, False),
            (south, "10.1.2.3", 8080, True),
        ):
            assert me.cloud.admits(machine, source, port) is expected, (machine, source, port)
        assert not me.cloud.admits(id, "10.1.2.3", 8080, "udp")


def images_are_of_a_region_and_an_architecture() -> None:
    with user() as me:
        images = me.get("/images")
        arm = next(image for image in images if image["architecture"] == "arm64")
        same = next(image for image in images if image["region"]["name"] == A100[1])
        me.launch(image={"id": same["id"]})
        for image in (arm["id"], next(image["id"] for image in images if image["region"] != same["region"])):
            me.refused(404, "global/object-does-not-exist", "POST", LAUNCH, wish(image={"id": image}))
        assert len({image["id"] for image in images}) == len(images)
        me.launch(instance_type_name="gpu_1x_gh200", region_name="us-east-3", image={"family": arm["family"]})


def events_are_told_in_pages_and_by_time() -> None:
    with user() as me:
        id = me.launch()
        for number in range(60):
            me.data("POST", f"/instances/{id}", {"name": f"n{number}"})
            me.clock.goes(60)
        first = me.get("/audit-events")
        second = me.get(f"/audit-events?page_token={first['page_token']}")
        assert [len(page["events"]) for page in (first, second)] == [50, 12] and second["page_token"] is None
        ids = [event["event_id"] for page in (first, second) for event in page["events"]]
        assert len(set(ids)) == 62 and first["events"][1]["action"] == "launched", first["events"][:2]
        (key,) = me.get("/audit-events?resource_type=cloud.ssh_key")["events"]
        assert key["action"] == "created"
        when = second["events"][0]["event_time"]
        assert len(me.get(f"/audit-events?start={when}")["events"]) == 12
        assert len(me.get(f"/audit-events?end={when}")["events"]) == 50
        for query in ("start=now", "page_token=x", "page_token=-1", "other=1"):
            me.invalid("GET", f"/audit-events?{query}")


def more_requests_than_lambda_takes_are_answered_429() -> None:
    with user(rate_scale=1.0) as me:
        too_many = (429, "global/too-many-requests")
        assert me.get("/instances") == []
        me.clock.goes(0.9)
        me.refused(*too_many, "GET", "/instances")
        # What was refused does not count, nor what has no key.
        me.clock.goes(0.1)
        assert me.ask("GET", "/instances", authorization="Bearer other").status == 401
        me.launch()
        me.clock.goes(11)
        me.refused(*too_many, "POST", LAUNCH, wish())
        me.clock.goes(1)
        me.launch()
        me.clock.goes(1)
        assert len(me.get("/instances")) == 2
        assert [asked.time - 1000 for asked in me.cloud.launches()] == [1, 12, 13]
    with user(rate_scale=0.1) as me:
        me.launch()
        me.clock.goes(1.2)
        me.launch()
    with user() as me:
        for _ in range(5):
            me.get("/instances")


def an_error_comes_when_a_check_wants_it() -> None:
    with user() as me:
        me.cloud.fail_next("/instances*", times=2)
        for path in ("/instances", "/instances/x"):
            me.refused(503, "provider/internal-unavailable", "GET", path)
        assert me.get("/instances") == []
        me.cloud.fail_next(LAUNCH, 500, "global/internal-error", method="POST", done=True)
        me.cloud.fail_next(LAUNCH, 502, body=b"<html>Bad Gateway</html>")
        me.refused(500, "global/internal-error", "POST", LAUNCH, wish())
        assert len(me.get("/instances")) == 1
        answer = me.ask("POST", LAUNCH, wish())
        assert (answer.status, answer.field("content-type")) == (502, "text/html"), answer
        assert [(asked.status, asked.done) for asked in me.cloud.launches()] == [(500, True), (502, False)]
        me.cloud.fail_next("*", times=100)
        me.cloud.clear_faults()
        assert len(me.get("/instances")) == 1


def a_launch_can_happen_without_its_client_hearing_of_it() -> None:
    with user() as me:
        for done, there in ((True, 1), (False, 1)):
            me.cloud.cut_next(LAUNCH, done=done)
            try:
                me.ask("POST", LAUNCH, wish(tags=[{"key": "gotoni-launch", "value": "7"}]))
                raise AssertionError("it was answered")
            except Broken as broken:
                assert broken.body == b"", broken
            found = me.get("/instances")
            assert len(found) == there and found[0]["tags"][0]["value"] == "7", found
        assert [(asked.status, asked.done) for asked in me.cloud.launches()] == [(0, True), (0, False)]


def an_answer_is_held_until_it_may_come() -> None:
    with user() as me:
        for done in (True, False):
            before = len(me.cloud.instances())
            event = me.cloud.hold_next(LAUNCH, done=done)
            found: list[Answer] = []
            thread = threading.Thread(target=lambda: found.append(me.ask("POST", LAUNCH, wish())))
            thread.start()
            me.cloud.until_asked("POST", LAUNCH, before + 1)
            # Others are answered meanwhile.
            end = time.monotonic() + 20
            while len(me.get("/instances")) < before + done:
                assert time.monotonic() < end
            assert len(me.get("/instances")) == before + done and not found
            event.set()
            thread.join(20)
            assert found[0].status == 200 and len(me.cloud.instances()) == before + 1, found


def answers_can_be_late_and_the_end_waits_for_none() -> None:
    with user() as me:
        me.cloud.slow(0.2, "/images")
        began = time.monotonic()
        me.get("/images")
        assert time.monotonic() - began >= 0.2
        me.cloud.slow(0, "/images")
        me.cloud.slow(60, "/instances")
        me.cloud.hold_next("/ssh-keys")
        wires = [
            Raw(me.cloud.port, request("GET", PREFIX + path, headers={"authorization": f"Bearer {KEY}"}))
            for path in ("/instances", "/ssh-keys")
        ]
        for path in ("/instances", "/ssh-keys"):
            me.cloud.until_asked("GET", path)
    # The fake has ended; so have they.
    for raw in wires:
        with raw:
            raw.to_the_end()
    assert time.monotonic() - began < 30


def what_is_nowhere_is_not_found() -> None:
    with user() as me:
        for method, path in (
            ("GET", "/"),
            ("GET", "/regions"),
            ("GET", "/instances/"),
            ("GET", "/instances/a/b"),
            ("GET", "/instances/{id}"),
            ("GET", LAUNCH),
            ("DELETE", "/instances/x"),
            ("BREW", "/instances"),
        ):
            me.refused(404, "global/not-found", method, path)
        answer = ask(me.cloud.port, "GET", "/instances", headers={"authorization": f"Bearer {KEY}"})
        assert answer.status == 404, answer
        me.invalid("GET", "/instances?page=1")
        assert me.get("/instances?cluster_id=x") == []


def a_connection_is_kept_and_bodies_may_come_in_chunks() -> None:
    with user() as me, Raw(me.cloud.port) as raw:
        fields = {"authorization": f"Bearer {KEY}"}
        for _ in range(3):
            raw.send(request("GET", PREFIX + "/instances", headers=fields))
            assert raw.answer().status == 200
        body = json.dumps(wish()).encode()
        chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\nx: y\r\n\r\n"
        raw.send(request("POST", PREFIX + LAUNCH, chunks, {**fields, "transfer-encoding": "chunked"}))
        assert raw.answer().status == 200
        raw.send(request("GET", PREFIX + "/instances", headers=fields))
        assert len(raw.answer().json()["data"]) == 1
        raw.send(request("POST", PREFIX + LAUNCH, b"", {**fields, "expect": "100-continue", "content-length": "2"}))
        assert raw.head().status == 100
        raw.send(b"{}")
        assert raw.answer().status == 400
        for name, value in (("content-length", "99999999999"), ("content-length", "-1"), ("content-length", "x")):
            with Raw(me.cloud.port, request("POST", PREFIX + LAUNCH, b"", {**fields, name: value})) as other:
                assert other.answer().status == 400 and other.is_closed()
        with Raw(me.cloud.port, b"nonsense\r\n\r\n") as other:
            assert b"global/invalid-parameters" in other.to_the_end()


def _fill(me: User, count: int) -> None:
    """So many file systems and rulesets; over HTTP it would take a while."""
    for number in range(count):
        me.cloud.account.create_filesystem("", {}, {"name": f"f{number}", "region": A100[1]})
        me.cloud.account.create_firewall_ruleset("", {}, {"name": "", "region": A100[1], "rules": []})


def everything_it_keeps_has_a_bound() -> None:
    with user(quota=100) as me:
        for number in range(MOST - 1):
            me.cloud.add_key(f"k{number}", PUBLIC)
        _fill(me, MOST - 1)
        me.invalid("POST", "/ssh-keys", {"name": "more", "public_key": PUBLIC})
        made: list[tuple[str, dict[str, Any]]] = [("/filesystems", {}), ("/firewall-rulesets", {"rules": []})]
        for path, body in made:
            me.data("POST", path, body | {"name": "last", "region": A100[1]})
            wanted = body | {"name": "more", "region": A100[1]}
            me.refused(400, "global/quota-exceeded", "POST", path, wanted)
        for number in range(lambda_cloud.ENTRIES + 10):
            me.cloud.take(Asked(0, "GET", f"/{number}", {}, None, size=1 << 10))
        assert len(me.cloud.log) == lambda_cloud.ENTRIES
        me.cloud.take(Asked(0, "GET", "/last", {}, None, size=lambda_cloud.BYTES))
        assert [asked.path for asked in me.cloud.log] == ["/last"]


def it_runs_alone_as_well() -> None:
    file = pathlib.Path(tempfile.mkdtemp()) / "key.pub"
    file.write_text(PUBLIC + "\n")
    words = ["--boot-seconds", "0", "--ssh-key", f"mine={file}", "--capacity", "@".join(A100) + "=1", "--key", "k"]
    program = [sys.executable, "-B", lambda_cloud.__file__, *words, "--ip", "127.0.0.7"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, text=True) as running:
        try:
            assert running.stdout is not None
            url = running.stdout.readline().strip()
            port, fields = int(url.rpartition(":")[2]), {"authorization": "Bearer k"}
            assert ask(port, "POST", PREFIX + LAUNCH, wish(), fields).status == 200
            assert ask(port, "POST", PREFIX + LAUNCH, wish(), fields).status == 400
            (found,) = ask(port, "GET", PREFIX + "/instances", headers=fields).json()["data"]
            assert (found["status"], found["ip"]) == ("active", "127.0.0.7"), found
            running.terminate()
            assert running.wait(20) == 0
        finally:
            running.kill()


# A client by others.


def _has(package: str) -> bool:
    if importlib.util.find_spec(package) is None:
        print(f"  SKIPPED: there is no {package} here (pip install -r requirements-lambda.txt)", flush=True)
        return False
    return True


def _told(cloud: LambdaCloud, key: str) -> dict[str, str]:
    return {"LAMBDA_CLOUD_BASE_URL": cloud.url, "LAMBDA_CLOUD_API_TOKEN": key, "COLUMNS": "250", "NO_COLOR": "1"}


def _lai(cloud: LambdaCloud, *words: str, key: str = KEY, status: int = 0) -> str:
    """`lai` in this process: starting one each time would take longer than all other checks."""
    from click.testing import CliRunner
    from lambda_ai_cloud_api_client.__main__ import main
    from lambda_ai_cloud_api_client.cli.client import auth_client

    auth_client.cache_clear()
    done = CliRunner().invoke(main, words, env=_told(cloud, key))
    assert done.exit_code == status, (words, done, done.output)
    return done.output


def lai_lists_launches_and_stops() -> None:
    if not _has("lambda_ai_cloud_api_client"):
        return
    with user() as me:
        program = [sys.executable, "-m", "lambda_ai_cloud_api_client", "types", "--json"]
        types = json.loads(subprocess.check_output(program, env=os.environ | _told(me.cloud, KEY), timeout=60))
        assert [item["instance_type"]["name"] for item in types] == [kind.name for kind in TYPES], types
        # Its first region with capacity is taken.
        words = ("--instance-type", A100[0], "--ssh-key", "mine", "--name", "by-lai", "--tag", "gotoni-launch=1")
        made = json.loads(_lai(me.cloud, "start", *words, "--json"))
        assert made["status"] == "booting" and made["region"]["name"] == A100[1] and "ip" not in made, made
        me.clock.goes(BOOT_S)
        listed = _lai(me.cloud, "ls")
        assert "127.0.0.1" in listed and "by-lai" in listed and "active" in listed and "1.29" in listed, listed
        assert json.loads(_lai(me.cloud, "stop", "by-lai"))[0]["status"] == "terminating"
        me.clock.goes(END_S)
        assert "No instances found" in _lai(me.cloud, "ls")
        me.data("POST", "/ssh-keys", {"name": "other", "public_key": PUBLIC})
        assert [key["name"] for key in json.loads(_lai(me.cloud, "keys", "--json"))] == ["mine", "other"]
        assert "arm64" in _lai(me.cloud, "images", "--arch", "arm64")
        nobody = ("start", "--instance-type", A100[0], "--ssh-key", "nobody")
        assert "global/object-does-not-exist" in _lai(me.cloud, *nobody, status=2)
        assert "global/invalid-api-key" in _lai(me.cloud, "ls", key="other", status=2)


def another_client_understands_every_operation() -> None:
    """Generated from Lambda's document by others: what is missing or of another type is an error there."""
    if not _has("lambda_ai_cloud_api_client"):
        return
    from lambda_ai_cloud_api_client import api, models
    from lambda_ai_cloud_api_client.client import AuthenticatedClient

    called = set()
    with user() as me, AuthenticatedClient(base_url=me.cloud.url, token=KEY) as client:

        def call(name: str, *words: str, body: Any = None) -> Any:
            called.add(name)
            module = importlib.import_module(f"{api.__name__}.{name}")
            answer = module.sync_detailed(*words, client=client, **({"body": body} if body else {}))
            assert answer.status_code == 200 and answer.parsed is not None, (name, answer)
            assert _without_times(answer.parsed.to_dict()) == _without_times(json.loads(answer.content)), name
            return answer.parsed.data

        place = models.PublicRegionCode(A100[1])
        made = call("ssh_keys.add_ssh_key", body=models.AddSSHKeyRequest(name="made"))
        call("ssh_keys.add_ssh_key", body=models.AddSSHKeyRequest(name="given", public_key=PUBLIC))
        assert [key.name for key in call("ssh_keys.list_ssh_keys")] == ["mine", "made", "given"]
        held = call("filesystems.create_filesystem", body=models.FilesystemCreateRequest(name="data", region=place))
        assert call("filesystems.list_filesystems")[0].id == held.id
        rule = models.FirewallRule.from_dict(SSH)
        call("firewalls.firewall_rules_set", body=models.FirewallRulesPutRequest(data=[rule]))
        assert len(call("firewalls.firewall_rules_list")) == 1
        mesh = models.FirewallRulesetCreateRequest(name="mesh", region=place, rules=[rule])
        ruleset = call("firewalls.create_firewall_ruleset", body=mesh)
        call("firewalls.update_firewall_ruleset", ruleset.id, body=models.FirewallRulesetPatchRequest(name="other"))
        none = models.GlobalFirewallRulesetPatchRequest(rules=[])
        call("firewalls.update_global_firewall_ruleset", body=none)
        asked = wish(
            ssh_key_names=["made"],
            file_system_names=["data"],
            hostname="head",
            tags=[{"key": "ab", "value": "c"}],
            firewall_rulesets=[{"id": ruleset.id}],
            image={"family": "lambda-stack-24-04"},
        )
        (id,) = call("instances.launch_instance", body=models.InstanceLaunchRequest.from_dict(asked)).instance_ids
        me.clock.goes(BOOT_S)
        assert call("instances.list_instances")[0].hostname == call("instances.get_instance", id).hostname == "head"
        assert call("firewalls.firewall_rulesets_list")[0].instance_ids == [id]
        call("firewalls.get_firewall_ruleset", ruleset.id)
        call("firewalls.get_global_firewall_ruleset")
        call("instances.post_instance", id, body=models.InstanceModificationRequest(name="new"))
        call("instances.restart_instance", body=models.InstanceRestartRequest(instance_ids=[id]))
        call("instances.terminate_instance", body=models.InstanceTerminateRequest(instance_ids=[id]))
        me.clock.goes(END_S)
        call("firewalls.delete_firewall_ruleset", ruleset.id)
        assert call("filesystems.filesystem_delete", held.id).deleted_ids == [held.id]
        call("ssh_keys.delete_ssh_key", made.id)
        for name in ("instances.list_instance_types", "images.list_images", "audit_events.get_audit_events"):
            call(name)
        folder = pathlib.Path(api.__path__[0])
        known = {f"{file.parent.name}.{file.stem}" for file in folder.glob("*/*.py") if file.stem != "__init__"}
        assert called == known, called ^ known


def _without_times(value: Any) -> Any:
    """Times are written in more than one way."""
    if isinstance(value, dict):
        skipped = ("created", "created_time", "updated_time", "event_time")
        return {key: _without_times(part) for key, part in value.items() if key not in skipped}
    return [_without_times(part) for part in value] if isinstance(value, list) else value


# Lambda's own document.

# What the fake answers where the document has nothing, each for its reason: version 1.10 of the document, or clients
# have seen it, or a request so wrong that something must be said.
BEYOND = {
    ("POST", RESTART, 409, "global/conflict"),
    ("POST", RESTART, 400, "global/invalid-parameters"),
    ("POST", TERMINATE, 400, "global/invalid-parameters"),
    ("PUT", "/firewall-rules", 400, "global/invalid-parameters"),
    ("PATCH", "/firewall-rulesets/global", 400, "global/invalid-parameters"),
    ("PATCH", "/firewall-rulesets/{id}", 400, "global/invalid-parameters"),
    ("GET", "/instances", 400, "global/invalid-parameters"),
    ("GET", "/instances", 429, "global/too-many-requests"),
    ("GET", "/instances", 503, "provider/internal-unavailable"),
}
# What the document has and only `fail_next` brings about. By it a launch that asks for what does not exist is answered
# 400 or 404; here it is 404.
UNUSED = {
    ("POST", LAUNCH, 400, "global/object-does-not-exist"),
    ("POST", "/firewall-rulesets", 409, "global/internal-error"),
    ("PATCH", "/firewall-rulesets/global", 409, "global/internal-error"),
    ("PATCH", "/firewall-rulesets/{id}", 409, "global/internal-error"),
    ("DELETE", "/firewall-rulesets/{id}", 409, "global/internal-error"),
}


class Document:
    """Lambda's OpenAPI document."""

    def __init__(self, path: str) -> None:
        import jsonschema

        self.whole = json.loads(pathlib.Path(path).read_text())
        self.formats = jsonschema.FormatChecker(())
        self.formats.checks("date-time", ValueError)(_is_moment)
        self.formats.checks("ipv4network", ValueError)(lambda text: bool(ipaddress.IPv4Network(text)))
        self.validator = jsonschema.Draft202012Validator
        # By the schema's identity; none of them goes before the document does.
        self.made: dict[int, Any] = {}
        self.operations = {
            (method.upper(), path.removeprefix(PREFIX)): operation
            for path, methods in self.whole["paths"].items()
            for method, operation in methods.items()
        }

    def check(self, schema: dict[str, Any], value: Any, what: object) -> None:
        # With the components beside it references are resolved inside the document.
        whole = {"components": self.whole["components"], "allOf": [schema]}
        made = self.made.setdefault(id(schema), self.validator(whole, format_checker=self.formats))
        errors = [error.message for error in made.iter_errors(value)]
        assert not errors, (what, errors, value)

    def schema(self, method: str, route: str, status: int) -> dict[str, Any] | None:
        found = self.operations[method, route]["responses"].get(str(status))
        return found["content"]["application/json"]["schema"] if found else None

    def request(self, method: str, route: str) -> dict[str, Any] | None:
        found = self.operations[method, route].get("requestBody")
        return found["content"]["application/json"]["schema"] if found else None

    def kinds(self) -> Iterator[tuple[str, str, int, str]]:
        """Of answers: by operation, status, and code of the error."""
        for (method, route), operation in self.operations.items():
            for status in map(int, operation["responses"]):
                if status == 200:
                    yield method, route, status, ""
                    continue
                schema = self.schema(method, route, status) or {}
                error = schema["properties"]["error"]
                for part in error.get("anyOf", [error]):
                    name = part["$ref"].rpartition("/")[2]
                    code = self.whole["components"]["schemas"][name]["properties"]["code"]["const"]
                    yield method, route, status, code


def _is_moment(text: object) -> bool:
    """As RFC 3339 has it: with its zone."""
    return not isinstance(text, str) or datetime.datetime.fromisoformat(text).tzinfo is not None


def _tour(me: User, operations: list[tuple[str, str]]) -> None:
    """Every kind of answer that there is."""
    for inactive, key in ((True, KEY), (False, "other")):
        me.cloud.is_inactive = inactive
        for method, path in operations:
            me.ask(method, path, authorization=f"Bearer {key}")
    place, body = A100[1], {"instance_ids": ["nobody"]}
    me.data("POST", "/ssh-keys", {"name": "given", "public_key": PUBLIC})
    made = me.data("POST", "/ssh-keys", {"name": "made"})
    held = me.data("POST", "/filesystems", {"name": "data", "region": place})
    ruleset = me.data("POST", "/firewall-rulesets", {"name": "mesh", "region": place, "rules": [SSH]})
    more = {"name": "x", "hostname": "y", "tags": [{"key": "ab", "value": "c"}], "quantity": 1, "user_data": "#"}
    me.ask("POST", LAUNCH, wish(instance_type_name=TYPES[-1].name))
    id = me.launch(file_system_names=["data"], firewall_rulesets=[{"id": ruleset["id"]}], **more)
    for path in ("/instances", f"/instances/{id}", "/file-systems", "/firewall-rulesets", "/firewall-rules", "/images"):
        me.get(path)
    for status in ("active", "unhealthy", "preempted", "active"):
        me.cloud.set_status(id, status)
        me.get("/instances")
    for method, path in (
        ("GET", "/instance-types"),
        ("GET", "/ssh-keys"),
        ("GET", "/firewall-rulesets/global"),
        ("GET", f"/firewall-rulesets/{ruleset['id']}"),
        ("DELETE", f"/filesystems/{held['id']}"),
        ("DELETE", f"/firewall-rulesets/{ruleset['id']}"),
        ("DELETE", "/filesystems/x"),
        ("DELETE", "/firewall-rulesets/x"),
        ("GET", "/firewall-rulesets/x"),
        ("GET", "/instances/x"),
        ("GET", "/instances?x=1"),
        ("DELETE", "/ssh-keys/x"),
        ("GET", "/audit-events?start=x"),
    ):
        me.ask(method, path)
    for method, path, sent in (
        ("POST", f"/instances/{id}", {"name": "z"}),
        ("POST", f"/instances/{id}", {"name": 1}),
        ("POST", "/instances/x", {"name": "z"}),
        ("POST", "/ssh-keys", {}),
        ("PUT", "/firewall-rules", {"data": [SSH]}),
        ("PUT", "/firewall-rules", {}),
        ("PATCH", "/firewall-rulesets/global", {"rules": [SSH]}),
        ("PATCH", "/firewall-rulesets/global", {"rules": 1}),
        ("PATCH", f"/firewall-rulesets/{ruleset['id']}", {"name": "a", "rules": [SSH]}),
        ("PATCH", f"/firewall-rulesets/{ruleset['id']}", {"rules": 1}),
        ("PATCH", "/firewall-rulesets/x", {}),
        ("POST", "/firewall-rulesets", {}),
        ("POST", "/filesystems", {}),
        ("POST", "/filesystems", {"name": "data", "region": place}),
        ("POST", LAUNCH, {}),
        ("POST", LAUNCH, wish(file_system_names=["data"], region_name="us-east-1")),
        ("POST", LAUNCH, wish(ssh_key_names=["x"])),
        ("POST", RESTART, {"instance_ids": [id]}),
        ("POST", RESTART, {"instance_ids": [id]}),
        ("POST", RESTART, {}),
        ("POST", RESTART, body),
        ("POST", TERMINATE, {"instance_ids": [id]}),
        ("POST", TERMINATE, {}),
        ("POST", TERMINATE, body),
        ("GET", "/instances", None),
    ):
        me.ask(method, path, sent)
    me.cloud.set_billing_address(False)
    me.ask("POST", LAUNCH, wish())
    me.ask("POST", "/filesystems", {"name": "other", "region": place})
    me.cloud.set_billing_address(True)
    me.clock.goes(END_S)
    me.get("/instances")
    for path in (f"/filesystems/{held['id']}", f"/firewall-rulesets/{ruleset['id']}", f"/ssh-keys/{made['id']}"):
        me.data("DELETE", path)
    me.get("/audit-events")
    me.cloud.set_capacity(*A100, 2)
    me.launch()
    me.ask("POST", LAUNCH, wish())
    _fill(me, MOST)
    me.ask("POST", "/filesystems", {"name": "more", "region": place})
    me.ask("POST", "/firewall-rulesets", {"name": "more", "region": place, "rules": []})
    me.cloud.fail_next("/instances")
    me.ask("GET", "/instances")
    me.cloud.rate_scale = 1.0
    me.get("/instances")
    me.ask("GET", "/instances")


def every_kind_of_answer_is_as_lambda_s_document_has_it() -> None:
    path = os.environ.get("LAMBDA_OPENAPI")
    if not path:
        print("  SKIPPED: --openapi with Lambda's OpenAPI document is not given", flush=True)
        return
    if not _has("jsonschema"):
        return
    document = Document(path)
    envelope = {
        "type": "object",
        "required": ["code", "message"],
        "additionalProperties": False,
        "properties": {name: {"type": "string"} for name in ("code", "message", "suggestion")},
    }
    kinds = set()
    with user(quota=1) as me:
        _tour(me, list(document.operations))
        for asked in me.cloud.seen():
            assert asked.answer is not None, asked
            code = asked.answer.get("error", {}).get("code", "")
            # Without a key the route is not looked for.
            route = asked.route or asked.path
            kind = (asked.method, route, asked.status, code)
            kinds.add(kind)
            if kind in BEYOND:
                document.check(envelope, asked.answer["error"], kind)
                continue
            schema = document.schema(asked.method, route, asked.status)
            assert schema is not None, kind
            document.check(schema, asked.answer, kind)
            wanted = document.request(asked.method, route)
            if asked.status == 200 and wanted:
                document.check(wanted, asked.body, kind)
    assert set(OPERATIONS) == set(document.operations)
    assert kinds == set(document.kinds()) - UNUSED | BEYOND, kinds ^ (set(document.kinds()) - UNUSED | BEYOND)
