"""What requests to Lambda's API may look like, and the errors that say they may not."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Callable, Mapping
from typing import Any

from lambda_world import REGIONS

# Gets a value and its name, gives the value that is kept, or raises.
Rule = Callable[[Any, str], Any]

USER_DATA = 1_000_000


class Refused(Exception):
    """An error in Lambda's envelope."""

    def __init__(self, status: int, code: str, message: str, suggestion: str | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.suggestion = suggestion

    def shown(self) -> dict[str, Any]:
        error = {"code": self.code, "message": self.message}
        return {"error": error | ({"suggestion": self.suggestion} if self.suggestion is not None else {})}


def invalid(message: str) -> Refused:
    return Refused(400, "global/invalid-parameters", message)


def absent(message: str, suggestion: str = "Check the name or ID and try again.") -> Refused:
    return Refused(404, "global/object-does-not-exist", message, suggestion)


def text(least: int = 0, most: int = 256, pattern: str = "") -> Rule:
    def rule(value: Any, name: str) -> str:
        if not isinstance(value, str):
            raise invalid(f"{name}: Input should be a valid string")
        if not least <= len(value) <= most:
            raise invalid(f"{name}: String should have from {least} to {most} characters")
        if pattern and not re.fullmatch(pattern, value):
            raise invalid(f"{name}: String should match pattern '{pattern}'")
        return value

    return rule


def whole(least: int, most: int) -> Rule:
    def rule(value: Any, name: str) -> int:
        # In Python True is a whole number as well.
        if type(value) is not int or not least <= value <= most:
            raise invalid(f"{name}: Input should be a valid integer from {least} to {most}")
        return value

    return rule


def each(item: Rule, least: int = 0, most: int = 64) -> Rule:
    def rule(value: Any, name: str) -> list[Any]:
        if not isinstance(value, list):
            raise invalid(f"{name}: Input should be a valid list")
        if not least <= len(value) <= most:
            raise invalid(f"{name}: List should have from {least} to {most} items")
        return [item(part, f"{name}.{index}") for index, part in enumerate(value)]

    return rule


def record(required: Mapping[str, Rule], optional: Mapping[str, Rule] | None = None) -> Rule:
    """An object with these fields and no others."""
    rules = {**required, **(optional or {})}

    def rule(value: Any, name: str) -> dict[str, Any]:
        inside = f"{name}." if name else ""
        if not isinstance(value, dict):
            raise invalid(f"{name or 'body'}: Input should be a valid dictionary")
        for key in required:
            if key not in value:
                raise invalid(f"{inside}{key}: Field required")
        for key in value:
            if key not in rules:
                raise invalid(f"{inside}{key[:64]}: Extra inputs are not permitted")
        return {key: rules[key](part, inside + key) for key, part in value.items()}

    return rule


def one_of(*values: str) -> Rule:
    def rule(value: Any, name: str) -> str:
        if value not in values:
            raise invalid(f"{name}: Input should be one of {', '.join(values)}")
        return value

    return rule


def _quantity(value: Any, name: str) -> int:
    """No longer in the documents, but clients send it still."""
    if type(value) is not int or value < 1:
        raise invalid(f"{name}: Input should be a valid integer greater than 0")
    if value > 1:
        raise invalid("Requested too many instances.")
    return value


def _one_key(value: Any, name: str) -> list[str]:
    found = each(text(1, 64))(value, name)
    if len(found) != 1:
        raise invalid(f"{name}: Exactly one SSH key must be specified")
    return found


def _user_data(value: Any, name: str) -> str:
    if not isinstance(value, str) or len(value.encode("utf-8", "surrogatepass")) > USER_DATA:
        raise invalid(f"{name}: must be plain text of up to 1MB")
    return value


def _image(value: Any, name: str) -> dict[str, str]:
    found = record({}, {"id": text(1), "family": text(1)})(value, name)
    if len(found) != 1:
        raise invalid(f"{name}: either id or family")
    return found


def _network(value: Any, name: str) -> str:
    """Without a mask it is one address."""
    try:
        if not isinstance(value, str):
            raise ValueError("no string")
        return str(ipaddress.IPv4Network(value))
    except ValueError:
        raise invalid(f"{name}: Input is not a valid IPv4 network") from None


def _rule(value: Any, name: str) -> dict[str, Any]:
    port = whole(1, 65535)
    found = record(
        {
            "protocol": one_of("tcp", "udp", "icmp", "all"),
            "source_network": _network,
            "description": text(0, 128),
        },
        {"port_range": each(port, 2, 2)},
    )(value, name)
    ports = found.get("port_range")
    if (ports is None) != (found["protocol"] == "icmp"):
        raise invalid(f"{name}.port_range: not allowed for icmp, required for the others")
    if ports and ports[0] > ports[1]:
        raise invalid(f"{name}.port_range: the first port is above the last")
    return found


def _public_key(value: Any, name: str) -> str:
    """As in authorized_keys: the kind, and the same kind at the start of what is encoded."""
    words = text(1, 4096)(value, name).split()
    try:
        raw = base64.b64decode(words[1], validate=True)
        kind = raw[4 : 4 + int.from_bytes(raw[:4], "big")].decode()
    except (IndexError, ValueError):
        raise invalid(f"{name}: not a valid public key") from None
    if kind != words[0] or not kind.startswith(("ssh-", "ecdsa-", "sk-")) or "\n" in value.strip():
        raise invalid(f"{name}: not a valid public key")
    return value


_REGION = one_of(*REGIONS)
_RULES = each(_rule, most=100)
_IDS = each(text(1), 1)
_NAME = text(0, 64)

LAUNCH = record(
    {"region_name": _REGION, "instance_type_name": text(1), "ssh_key_names": _one_key},
    {
        "file_system_names": each(text(1)),
        "file_system_mounts": each(
            record({"mount_point": text(1, 256, r"(/home|/lambda/nfs|/data)[/a-zA-Z0-9-]*"), "file_system_id": text(1)})
        ),
        "hostname": text(1, 63, r"[a-z0-9][0-9a-z-]{0,62}"),
        "name": _NAME,
        "image": _image,
        "user_data": _user_data,
        "tags": each(record({"key": text(1, 55, r"[a-z][a-z0-9-:]+"), "value": text(0, 128)})),
        "firewall_rulesets": each(record({"id": text(1)})),
        "quantity": _quantity,
    },
)
INSTANCES = record({"instance_ids": _IDS})
RENAME = record({}, {"name": _NAME})
ADD_KEY = record({"name": text(1, 64)}, {"public_key": _public_key})
ADD_FILE_SYSTEM = record({"name": text(1, 60, r"[a-zA-Z]+[0-9a-zA-Z-]*"), "region": _REGION})
PUT_RULES = record({"data": _RULES})
ADD_RULESET = record({"name": _NAME, "region": _REGION, "rules": _RULES})
PATCH_RULESET = record({}, {"name": _NAME, "rules": _RULES})
PATCH_GLOBAL = record({}, {"rules": _RULES})
NOTHING = record({})
