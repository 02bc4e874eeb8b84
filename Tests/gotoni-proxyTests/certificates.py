"""A certificate for servers under test, made anew by openssl."""

from __future__ import annotations

import functools
import pathlib
import ssl
import subprocess
import tempfile


@functools.cache
def localhost() -> tuple[str, str]:
    """Self-signed, of localhost and 127.0.0.1; and its key."""
    folder = pathlib.Path(tempfile.mkdtemp())
    certificate, key = str(folder / "cert.pem"), str(folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1,IP:::1"
    subprocess.run(
        [*command.split(), "-addext", names, "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    return certificate, key


def client_context() -> ssl.SSLContext:
    """Trusts it alone."""
    return ssl.create_default_context(cafile=localhost()[0])
