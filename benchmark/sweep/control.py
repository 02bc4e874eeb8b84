"""Control calls to routers and engines: every status is checked, TLS is verified, nothing is ignored."""

from __future__ import annotations

import json
import pathlib
import ssl
import sys
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

HERE = pathlib.Path(__file__).resolve().parent
sys.path.append(str(HERE.parent / "peers"))

from processes import BenchError  # noqa: E402

NOT_FOUND = 404
LIMIT_S = 10.0
MOST_BYTES = 16 << 20  # of an answer


class AnswerError(BenchError):
    """An answer that is not a 2xx."""

    def __init__(self, text: str, status: int) -> None:
        super().__init__(text)
        self.status = status


class Control:
    """Asks servers as an operator does."""

    def __init__(self, ca: pathlib.Path | None = None, token: str = "") -> None:
        """`ca`: a PEM file to trust instead of the system's authorities. `token`: sent as bearer token."""
        try:
            tls = ssl.create_default_context(cafile=str(ca) if ca else None)
        except (OSError, ssl.SSLError) as error:
            raise BenchError(f"--ca {ca} is not a file of PEM certificates: {error}") from error
        # No proxies of the environment and no redirects: what answers is what was asked.
        self.opener = urllib.request.OpenerDirector()
        for handler in (
            urllib.request.HTTPHandler(),
            urllib.request.HTTPSHandler(context=tls),
            urllib.request.HTTPDefaultErrorHandler(),
            urllib.request.HTTPErrorProcessor(),
            urllib.request.UnknownHandler(),
        ):
            self.opener.add_handler(handler)
        self.headers = {"Authorization": f"Bearer {token}"} if token else {}

    def text(self, method: str, url: str, body: Any = None) -> str:
        """The body of a 2xx. All else is an error that names the call and what came back."""
        data = None if body is None else json.dumps(body).encode()
        headers = self.headers | ({} if data is None else {"Content-Type": "application/json"})
        request = urllib.request.Request(url, data=data, headers=headers, method=method)
        try:
            with self.opener.open(request, timeout=LIMIT_S) as response:
                read = response.read(MOST_BYTES + 1)
        except urllib.error.HTTPError as error:
            why = " ".join(error.read(2000).decode(errors="replace").split())
            raise AnswerError(f"{method} {url} was answered {error.code}: {why[:300]}", error.code) from error
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise BenchError(f"{method} {url} failed: {reason}") from error
        if len(read) > MOST_BYTES:
            raise BenchError(f"{method} {url}: the answer has more than {MOST_BYTES >> 20} MiB")
        return read.decode(errors="replace")

    def json(self, method: str, url: str, body: Any = None) -> Any:
        try:
            return json.loads(self.text(method, url, body))
        except json.JSONDecodeError as error:
            raise BenchError(f"{method} {url}: the answer is not JSON") from error


def base_url(text: str) -> str:
    """An http or https address without the path that clients add. Errors: BenchError."""
    parts = urllib.parse.urlsplit(text)
    try:
        whole = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        whole = False
    if not whole or parts.query or parts.fragment:
        raise BenchError(f"{text} is not an address like http://HOST:PORT")
    return text.rstrip("/").removesuffix("/v1")
