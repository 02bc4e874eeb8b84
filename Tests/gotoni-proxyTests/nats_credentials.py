"""What NATS' own `nsc` makes: an operator who vouches for accounts, which vouch for users; and a user's .creds file.

Keys are Ed25519 by openssl, their names "nkeys" (a prefix, the key, a CRC-16, in base 32), and statements JSON Web Tokens:
https://docs.nats.io/running-a-nats-service/configuration/securing_nats/auth_intro/jwt
"""

from __future__ import annotations

import base64
import json
import pathlib
import subprocess
import time
from typing import Any

OPERATOR, ACCOUNT, USER, SEED = 14 << 3, 0, 20 << 3, 18 << 3


class Key:
    def __init__(self, folder: pathlib.Path, name: str, prefix: int) -> None:
        self.file, self.prefix = folder / f"{name}.pem", prefix
        _openssl("genpkey", "-algorithm", "ed25519", "-out", str(self.file))
        public = _openssl("pkey", "-in", str(self.file), "-pubout", "-outform", "DER")[-32:]
        private = _openssl("pkey", "-in", str(self.file), "-outform", "DER")[-32:]
        self.public = _encoded(bytes([prefix]) + public)
        # Five bits of each prefix, one after the other, in the first two bytes.
        self.seed = _encoded(bytes([SEED | prefix >> 5, (prefix & 31) << 3]) + private)

    def sign(self, data: bytes) -> bytes:
        statement = self.file.with_suffix(".txt")
        statement.write_bytes(data)
        return _openssl("pkeyutl", "-sign", "-rawin", "-inkey", str(self.file), "-in", str(statement))

    def says(self, of: Key, kind: str, **more: Any) -> str:
        """A token: `of` is an operator, an account or a user."""
        claims = {
            "jti": of.public, "iat": int(time.time()), "iss": self.public, "sub": of.public, "name": kind,
            "nats": {"type": kind, "version": 2, **more},
        }  # fmt: skip
        parts = [{"typ": "JWT", "alg": "ed25519-nkey"}, claims]
        text = b".".join(_base64(json.dumps(part).encode()) for part in parts)
        return (text + b"." + _base64(self.sign(text))).decode()


def write(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path, pathlib.Path]:
    """A server's configuration, the .creds of a user of its account, and those of another that it knows nothing of."""
    operator, system, account, stranger = (
        Key(folder, name, prefix)
        for name, prefix in (("operator", OPERATOR), ("system", ACCOUNT), ("account", ACCOUNT), ("stranger", ACCOUNT))
    )
    open_limits = {name: -1 for name in ("subs", "data", "payload", "imports", "exports", "conn", "leaf")}
    storage = {name: -1 for name in ("mem_storage", "disk_storage", "streams", "consumer")}
    accounts = {
        system.public: operator.says(system, "account", limits=open_limits),
        account.public: operator.says(account, "account", limits={**open_limits, **storage, "wildcards": True}),
    }
    configuration = folder / "server.conf"
    preload = "\n".join(f"  {name}: {token}" for name, token in accounts.items())
    configuration.write_text(
        f"operator: {operator.says(operator, 'operator')}\nsystem_account: {system.public}\n"
        f"resolver: MEMORY\nresolver_preload: {{\n{preload}\n}}\n"
    )
    return configuration, _credentials(folder, account, "user"), _credentials(folder, stranger, "other")


def _credentials(folder: pathlib.Path, account: Key, name: str) -> pathlib.Path:
    user = Key(folder, name, USER)
    file = folder / f"{name}.creds"
    token = account.says(user, "user", subs=-1, data=-1, payload=-1, pub={}, sub={})
    file.write_text(
        f"-----BEGIN NATS USER JWT-----\n{token}\n------END NATS USER JWT------\n\n"
        f"-----BEGIN USER NKEY SEED-----\n{user.seed}\n------END USER NKEY SEED------\n"
    )
    return file


def _openssl(*words: str) -> bytes:
    return subprocess.run(["openssl", *words], check=True, capture_output=True).stdout


def _base64(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def _encoded(data: bytes) -> str:
    return base64.b32encode(data + _crc16(data).to_bytes(2, "little")).rstrip(b"=").decode()


def _crc16(data: bytes) -> int:
    """CRC-16/XMODEM."""
    crc = 0
    for byte in data:
        crc ^= byte << 8
        for _ in range(8):
            crc = crc << 1 ^ (0x1021 if crc & 0x8000 else 0)
        crc &= 0xFFFF
    return crc
