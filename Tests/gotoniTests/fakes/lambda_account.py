"""One account at the fake of Lambda's cloud: its instances, keys, file systems, firewalls and events."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import datetime
import ipaddress
import pathlib
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import lambda_rules as rules
from lambda_rules import Refused, absent, invalid
from lambda_world import CAPACITY, REGIONS, TYPES, WITHOUT_FIREWALL, Type, images, region

# When the account's clock stood at its start.
EPOCH = datetime.datetime(2025, 11, 1, tzinfo=datetime.timezone.utc)
# Of each kind of thing; one more is a quota exceeded.
MOST = 100
EVENTS = 1000
PAGE = 50
ADDRESSES = tuple(f"127.0.0.{last}" for last in range(1, 255))
FROM_ANYWHERE: list[dict[str, Any]] = [
    {"protocol": "icmp", "source_network": "0.0.0.0/0", "description": "Allow ping"},
    {"protocol": "tcp", "source_network": "0.0.0.0/0", "description": "Allow SSH", "port_range": [22, 22]},
]
ACTIONS = ("migrate", "rebuild", "restart", "cold_reboot", "terminate")
# Why nothing can be done to an instance in such a state. Lambda's document has no code for the last two.
REASONS = {
    "booting": ("vm-has-not-launched", "The instance has not launched yet."),
    "terminating": ("vm-is-terminating", "The instance is being terminated."),
    "terminated": ("vm-is-terminating", "The instance has been terminated."),
    "unhealthy": ("", "The instance is not healthy."),
    "preempted": ("", "The instance has been preempted."),
}
STATUSES = ("active", *REASONS)


@dataclasses.dataclass
class Machine:
    id: str
    type: Type
    region: str
    # The launch, without user_data.
    asked: dict[str, Any]
    user_data: str | None
    status: str
    # When it came into this state.
    since: float
    mounts: list[dict[str, str]]
    file_systems: list[str]
    # Both from when it is active for the first time.
    ip: str | None = None
    private_ip: str | None = None

    @property
    def is_over(self) -> bool:
        return self.status == "terminated"

    def shown(self) -> dict[str, Any]:
        asked = self.asked
        found: dict[str, Any] = {
            "id": self.id,
            "status": self.status,
            "ssh_key_names": asked["ssh_key_names"],
            "file_system_names": self.file_systems,
            "region": region(self.region),
            "instance_type": self.type.shown(),
            "is_reserved": False,
            "actions": {name: self._action(name) for name in ACTIONS},
        }
        found |= {key: asked[key] for key in ("name", "tags", "firewall_rulesets") if key in asked}
        if self.mounts:
            found["file_system_mounts"] = self.mounts
        if self.ip is not None:
            token = self.id[::-1]
            found |= {
                "ip": self.ip,
                "hostname": asked.get("hostname", self.ip),
                "jupyter_token": token,
                "jupyter_url": f"https://jupyter-{self.id}.lambdaspaces.com/?token={token}",
            }
        if self.private_ip is not None:
            found["private_ip"] = self.private_ip
        return found

    def _action(self, name: str) -> dict[str, Any]:
        ended = self.status in ("terminating", "terminated")
        if self.status == "active" or (name == "terminate" and not ended):
            return {"available": True}
        code, words = REASONS[self.status]
        return {"available": False, "reason_description": words} | ({"reason_code": code} if code else {})


class Account:
    """What is there at the time its clock tells. Not to be called by two threads at once.

    Each operation gets the id in the path, the query and the body, and gives the data of its answer, or raises. Names
    of operations are those of Lambda's document."""

    def __init__(
        self,
        clock: Callable[[], float],
        boot_seconds: float,
        end_seconds: float,
        # For so long an instance that has ended is listed as terminated.
        linger_seconds: float,
        # The lowest that fewest instances have is given.
        ips: Sequence[str] = ADDRESSES,
        # Where private addresses begin; None: there are none.
        private_network: str | None = "10.19.0.0",
        quota: int = MOST,
    ) -> None:
        assert ips and quota <= MOST
        self.clock, self.ips, self.quota = clock, ips, quota
        self.boot_seconds, self.end_seconds, self.linger_seconds = boot_seconds, end_seconds, linger_seconds
        self.private_network = private_network
        self.has_address = True
        self.started = clock()
        self.types = {kind.name: kind for kind in TYPES}
        self.capacity = dict(CAPACITY)
        self.machines: dict[str, Machine] = {}
        self.keys: dict[str, dict[str, str]] = {}
        self.file_systems: dict[str, dict[str, Any]] = {}
        self.rules: list[dict[str, Any]] = [dict(rule) for rule in FROM_ANYWHERE]
        self.rulesets: dict[str, dict[str, Any]] = {}
        self.images = images()
        self.events: collections.deque[dict[str, Any]] = collections.deque(maxlen=EVENTS)
        self.made = 0

    # What time does.

    def settle(self) -> None:
        """All that has become due."""
        now = self.clock()
        for machine in list(self.machines.values()):
            if machine.status == "booting" and now - machine.since >= self.boot_seconds:
                self._enter(machine, "active", machine.since + self.boot_seconds)
            if machine.status == "terminating" and now - machine.since >= self.end_seconds:
                self._enter(machine, "terminated", machine.since + self.end_seconds)
            if machine.is_over and now - machine.since >= self.linger_seconds:
                del self.machines[machine.id]

    def _enter(self, machine: Machine, status: str, when: float) -> None:
        was_over = machine.is_over
        machine.status, machine.since = status, when
        if status == "active" and machine.ip is None:
            taken = collections.Counter(other.ip for other in self.machines.values() if not other.is_over)
            machine.ip = min(self.ips, key=lambda ip: taken[ip])
            if self.private_network:
                # Apart for each, and the same for an instance's whole life.
                machine.private_ip = str(ipaddress.IPv4Address(self.private_network) + int(machine.id[:8], 16) % 65536)
        if machine.is_over and not was_over:
            self.capacity[machine.type.name, machine.region] += 1

    def enter(self, id: str, status: str) -> None:
        """From outside: it is so from now on."""
        self.settle()
        assert status in STATUSES and not self.machines[id].is_over, status
        self._enter(self.machines[id], status, self.clock())
        self.settle()

    def _time(self) -> datetime.datetime:
        return EPOCH + datetime.timedelta(seconds=self.clock() - self.started)

    def _id(self) -> str:
        return uuid.uuid4().hex

    def _note(self, resource: str, action: str, *ids: str, **details: str) -> None:
        self.made += 1
        self.events.append(
            {
                "service_name": "cloud",
                "resource_name": resource,
                "action": action,
                "catalog_version": "2025-09-06",
                "event_id": f"{self.made:032x}",
                "event_time": self._time().isoformat(timespec="microseconds").replace("+00:00", "Z"),
                "actor_lrn": None,
                "resource_lrns": [f"lrn:cloud:{resource}:{id}" for id in ids],
                "resource_owner_lrn": None,
                "request_api_key_lrn": None,
                "additional_details": details,
            }
        )

    def _room(self, things: Sequence[Any] | dict[str, Any], most: int = MOST) -> None:
        if len(things) >= most:
            raise Refused(400, "global/quota-exceeded", "Quota exceeded.", "Contact Support to increase your quota.")

    def _billed(self) -> None:
        if not self.has_address:
            raise Refused(403, "global/invalid-address", "Your billing address is invalid.", "Correct your address.")

    # Instances.

    def list_instance_types(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        return {
            name: {
                "instance_type": kind.shown(),
                "regions_with_capacity_available": [
                    region(place) for place in REGIONS if self.capacity.get((name, place), 0) > 0
                ],
            }
            for name, kind in self.types.items()
        }

    def list_instances(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        # There are no clusters here.
        return [] if "cluster_id" in query else [machine.shown() for machine in self.machines.values()]

    def _machine(self, id: str) -> Machine:
        if id not in self.machines:
            raise absent("Specified instance does not exist.")
        return self.machines[id]

    def get_instance(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        return self._machine(id).shown()

    def post_instance(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        machine = self._machine(id)
        machine.asked |= rules.RENAME(body, "")
        self._note("instance", "updated", id)
        return machine.shown()

    def launch_instance(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        asked = rules.LAUNCH(body, "")
        for name in asked["ssh_key_names"]:
            if all(key["name"] != name for key in self.keys.values()):
                raise absent(f"SSH key {name} does not exist.")
        kind, place = self.types.get(asked["instance_type_name"]), asked["region_name"]
        if kind is None:
            raise absent(f"Instance type {asked['instance_type_name']} does not exist.")
        mounts = self._mounts(asked)
        self._image(asked.get("image"), kind, place)
        for entry in asked.get("firewall_rulesets", []):
            if self._ruleset(entry["id"])["region"]["name"] != place:
                raise invalid("firewall_rulesets: must be in the region of the instance")
        self._billed()
        self._room([machine for machine in self.machines.values() if not machine.is_over], self.quota)
        # Those that are only listed still have their bound as well.
        self._room(self.machines, 2 * MOST)
        if self.capacity.get((kind.name, place), 0) < 1:
            words = "Not enough capacity to fulfill launch request."
            code = "instance-operations/launch/insufficient-capacity"
            raise Refused(400, code, words, "Choose another region or instance type.")
        self.capacity[kind.name, place] -= 1
        machine = self._made(kind, place, asked, mounts)
        self._note("instance", "launched", machine.id, instance_type=kind.name, region=place)
        return {"instance_ids": [machine.id]}

    def _made(self, kind: Type, place: str, asked: dict[str, Any], mounts: dict[str, str]) -> Machine:
        machine = Machine(
            id=self._id(),
            type=kind,
            region=place,
            asked={key: value for key, value in asked.items() if key != "user_data"},
            user_data=asked.get("user_data"),
            status="booting",
            since=self.clock(),
            mounts=[{"mount_point": point, "file_system_id": id} for id, point in mounts.items()],
            file_systems=[self.file_systems[id]["name"] for id in mounts],
        )
        self.machines[machine.id] = machine
        return machine

    def _mounts(self, asked: dict[str, Any]) -> dict[str, str]:
        """Where each file system's id is mounted; the list of mounts is worth more than that of names."""
        found = {}
        for name in asked.get("file_system_names", []):
            held = next((held for held in self.file_systems.values() if held["name"] == name), None)
            if held is None:
                raise absent(f"Filesystem {name} does not exist.")
            found[held["id"]] = held["mount_point"]
        for mount in asked.get("file_system_mounts", []):
            if mount["file_system_id"] not in self.file_systems:
                raise absent(f"Filesystem {mount['file_system_id']} does not exist.")
            found[mount["file_system_id"]] = mount["mount_point"]
        if any(self.file_systems[id]["region"]["name"] != asked["region_name"] for id in found):
            code = "instance-operations/launch/file-system-in-wrong-region"
            raise Refused(400, code, "A filesystem is in another region.", "Launch where the filesystem is.")
        if len(set(found.values())) < len(found):
            raise invalid("file_system_mounts: two filesystems at one mount point")
        return found

    def _image(self, asked: dict[str, str] | None, kind: Type, place: str) -> None:
        def fits(image: dict[str, Any]) -> bool:
            return image["region"]["name"] == place and image["architecture"] == kind.architecture

        if asked and not any(fits(image) and asked.items() <= image.items() for image in self.images):
            raise absent("Specified image does not exist for this instance type and region.")

    def restart_instance(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        found = [self._machine(id) for id in dict.fromkeys(rules.INSTANCES(body, "")["instance_ids"])]
        if any(machine.status != "active" for machine in found):
            raise Refused(409, "global/conflict", "An instance is not active.", "Wait until it is active.")
        for machine in found:
            self._enter(machine, "booting", self.clock())
            self._note("instance", "restarted", machine.id)
        return {"restarted_instances": [machine.shown() for machine in found]}

    def terminate_instance(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """One that is on its way out already stays so."""
        found = [self._machine(id) for id in dict.fromkeys(rules.INSTANCES(body, "")["instance_ids"])]
        for machine in found:
            if machine.status not in ("terminating", "terminated"):
                self._enter(machine, "terminating", self.clock())
                self._note("instance", "terminated", machine.id)
        return {"terminated_instances": [machine.shown() for machine in found]}

    # SSH keys.

    def list_ssh_keys(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        return list(self.keys.values())

    def add_ssh_key(self, _: str, query: dict[str, str], body: Any) -> dict[str, str]:
        asked = rules.ADD_KEY(body, "")
        if any(key["name"] == asked["name"] for key in self.keys.values()):
            raise invalid("name: there is an SSH key of this name")
        if len(self.keys) >= MOST:
            raise invalid("Too many SSH keys.")
        private, public = ("", asked["public_key"]) if "public_key" in asked else _pair()
        key = {"id": self._id(), "name": asked["name"], "public_key": public}
        self.keys[key["id"]] = key
        self._note("ssh_key", "created", key["id"])
        # Only now, and never again.
        return key | ({"private_key": private} if private else {})

    def delete_ssh_key(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        """Lambda's document has no 404 here. Instances keep the name of a key that is gone."""
        if id not in self.keys:
            raise invalid("id: there is no such SSH key")
        del self.keys[id]
        self._note("ssh_key", "deleted", id)
        return {}

    # File systems.

    def _file_system(self, id: str) -> dict[str, Any]:
        held = self.file_systems[id]
        return held | {"is_in_use": any(id in _mounted(machine) for machine in self.machines.values())}

    def list_filesystems(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        return [self._file_system(id) for id in self.file_systems]

    def create_filesystem(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        asked = rules.ADD_FILE_SYSTEM(body, "")
        self._billed()
        if any(held["name"] == asked["name"] for held in self.file_systems.values()):
            raise Refused(400, "global/duplicate", f"There is a filesystem {asked['name']}.", "Choose another name.")
        self._room(self.file_systems)
        id = self._id()
        self.file_systems[id] = {
            "id": id,
            "name": asked["name"],
            "mount_point": f"/lambda/nfs/{asked['name']}",
            "created": self._time().isoformat(timespec="seconds"),
            "created_by": {"id": f"{1:032x}", "email": "somebody@example.com", "status": "active"},
            "region": region(asked["region"]),
            "bytes_used": 0,
        }
        self._note("filesystem", "created", id)
        return self._file_system(id)

    def filesystem_delete(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if id not in self.file_systems:
            raise absent("Filesystem was not found.")
        if self._file_system(id)["is_in_use"]:
            raise Refused(400, "filesystems/filesystem-in-use", "An instance has it mounted.", "Terminate that first.")
        del self.file_systems[id]
        self._note("filesystem", "deleted", id)
        return {"deleted_ids": [id]}

    def list_images(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        return self.images

    # Firewalls.

    def firewall_rules_list(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        return self.rules

    def firewall_rules_set(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        """All rules that were there before are gone."""
        self.rules = rules.PUT_RULES(body, "")["data"]
        self._note("firewall_ruleset", "updated", "global")
        return self.rules

    def get_global_firewall_ruleset(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        return {"id": "global", "name": "Global Firewall Rules", "rules": self.rules}

    def update_global_firewall_ruleset(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        self.rules = rules.PATCH_GLOBAL(body, "").get("rules", self.rules)
        self._note("firewall_ruleset", "updated", "global")
        return self.get_global_firewall_ruleset("", {}, None)

    def _ruleset(self, id: str) -> dict[str, Any]:
        if id not in self.rulesets:
            raise absent("Firewall ruleset does not exist or you do not have permission to access it.")
        users = [
            machine.id
            for machine in self.machines.values()
            if not machine.is_over and {"id": id} in machine.asked.get("firewall_rulesets", [])
        ]
        return self.rulesets[id] | {"instance_ids": users}

    def firewall_rulesets_list(self, _: str, query: dict[str, str], body: Any) -> list[Any]:
        return [self._ruleset(id) for id in self.rulesets]

    def create_firewall_ruleset(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        asked = rules.ADD_RULESET(body, "")
        self._room(self.rulesets)
        id = self._id()
        created = self._time().isoformat(timespec="seconds")
        self.rulesets[id] = {"id": id, "created": created} | asked | {"region": region(asked["region"])}
        self._note("firewall_ruleset", "created", id)
        return self._ruleset(id)

    def get_firewall_ruleset(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        return self._ruleset(id)

    def update_firewall_ruleset(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        self._ruleset(id)
        self.rulesets[id] |= rules.PATCH_RULESET(body, "")
        self._note("firewall_ruleset", "updated", id)
        return self._ruleset(id)

    def delete_firewall_ruleset(self, id: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        if self._ruleset(id)["instance_ids"]:
            words = "Firewall ruleset is in use by one or more instances."
            raise Refused(400, "firewall-rulesets/firewall-ruleset-in-use", words, "Terminate those instances first.")
        del self.rulesets[id]
        self._note("firewall_ruleset", "deleted", id)
        return {}

    def admits(self, id: str, source: str, port: int, protocol: str) -> bool:
        """Whether the firewall lets this in: by a rule of the account, or of a ruleset of the instance."""
        machine = self.machines[id]
        own = [self.rulesets[entry["id"]]["rules"] for entry in machine.asked.get("firewall_rulesets", [])]
        if machine.region == WITHOUT_FIREWALL:
            return True
        return any(
            rule["protocol"] in (protocol, "all")
            and ipaddress.ip_address(source) in ipaddress.IPv4Network(rule["source_network"])
            and (protocol == "icmp" or rule["port_range"][0] <= port <= rule["port_range"][1])
            for part in (self.rules, *own)
            for rule in part
        )

    # Events.

    def get_audit_events(self, _: str, query: dict[str, str], body: Any) -> dict[str, Any]:
        first, last, wanted = _moment(query, "start"), _moment(query, "end"), query.get("resource_type")
        token = query.get("page_token", "0")
        if not (token.isascii() and token.isdigit() and len(token) <= 9):
            raise invalid("page_token: is not one of ours")
        found = [
            event
            for event in self.events
            if (not first or datetime.datetime.fromisoformat(event["event_time"]) >= first)
            and (not last or datetime.datetime.fromisoformat(event["event_time"]) <= last)
            and wanted in (None, f"{event['service_name']}.{event['resource_name']}")
            and int(event["event_id"], 16) > int(token)
        ]
        more = str(int(found[PAGE - 1]["event_id"], 16)) if len(found) > PAGE else None
        return {"events": found[:PAGE], "page_token": more}


def _mounted(machine: Machine) -> Iterator[str]:
    if not machine.is_over:
        yield from (mount["file_system_id"] for mount in machine.mounts)


def _moment(query: dict[str, str], name: str) -> datetime.datetime | None:
    if name not in query:
        return None
    with contextlib.suppress(ValueError):
        found = datetime.datetime.fromisoformat(query[name])
        return found if found.tzinfo else found.replace(tzinfo=datetime.timezone.utc)
    raise invalid(f"{name}: is no ISO 8601 timestamp")


def _pair() -> tuple[str, str]:
    """A private key, in the old form that Lambda gives, and its public one."""
    with tempfile.TemporaryDirectory() as place:
        path = pathlib.Path(place) / "key"
        command = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", "", "-f", str(path)]
        subprocess.run(command, check=True, stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        return path.read_text(), path.with_suffix(".pub").read_text().strip()


Operation = Callable[[Account, str, dict[str, str], Any], Any]
# By the method and the path, and the names of what may be in the query.
OPERATIONS: dict[tuple[str, str], tuple[Operation, Iterable[str]]] = {
    ("GET", "/instance-types"): (Account.list_instance_types, ()),
    ("GET", "/instances"): (Account.list_instances, ("cluster_id",)),
    ("GET", "/instances/{id}"): (Account.get_instance, ()),
    ("POST", "/instances/{id}"): (Account.post_instance, ()),
    ("POST", "/instance-operations/launch"): (Account.launch_instance, ()),
    ("POST", "/instance-operations/restart"): (Account.restart_instance, ()),
    ("POST", "/instance-operations/terminate"): (Account.terminate_instance, ()),
    ("GET", "/ssh-keys"): (Account.list_ssh_keys, ()),
    ("POST", "/ssh-keys"): (Account.add_ssh_key, ()),
    ("DELETE", "/ssh-keys/{id}"): (Account.delete_ssh_key, ()),
    # The two spellings are Lambda's.
    ("GET", "/file-systems"): (Account.list_filesystems, ()),
    ("POST", "/filesystems"): (Account.create_filesystem, ()),
    ("DELETE", "/filesystems/{id}"): (Account.filesystem_delete, ()),
    ("GET", "/images"): (Account.list_images, ()),
    ("GET", "/firewall-rules"): (Account.firewall_rules_list, ()),
    ("PUT", "/firewall-rules"): (Account.firewall_rules_set, ()),
    ("GET", "/firewall-rulesets"): (Account.firewall_rulesets_list, ()),
    ("POST", "/firewall-rulesets"): (Account.create_firewall_ruleset, ()),
    ("GET", "/firewall-rulesets/global"): (Account.get_global_firewall_ruleset, ()),
    ("PATCH", "/firewall-rulesets/global"): (Account.update_global_firewall_ruleset, ()),
    ("GET", "/firewall-rulesets/{id}"): (Account.get_firewall_ruleset, ()),
    ("PATCH", "/firewall-rulesets/{id}"): (Account.update_firewall_ruleset, ()),
    ("DELETE", "/firewall-rulesets/{id}"): (Account.delete_firewall_ruleset, ()),
    ("GET", "/audit-events"): (Account.get_audit_events, ("start", "end", "page_token", "resource_type")),
}
