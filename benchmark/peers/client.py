"""Single requests: is a router ready, and does it answer right?"""

from __future__ import annotations

import http.client
import time
import urllib.request
from typing import Callable

from processes import BenchError, Program

READY_S = 60.0
PAUSE_S = 0.2
REQUEST_S = 10.0
CHAT = "/v1/chat/completions"
JSON = {"Content-Type": "application/json"}
# A proxy of the environment reaches nothing on this machine, and nothing in a network of its own.
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def wait_until_answers(
    program: Program, port: int, method: str, path: str, body: bytes | None = None, refusal: int | None = None
) -> str | None:
    """Until status 200. The answer's text if it has the status `refusal`: then this body will never be taken."""
    deadline = time.monotonic() + READY_S
    last = "nothing"
    while time.monotonic() < deadline:
        program.check()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
        try:
            connection.request(method, path, body, JSON)
            response = connection.getresponse()
            text = response.read()
            if response.status == 200:
                return None
            if response.status == refusal:
                return text.decode(errors="replace")
            last = f"status {response.status}"
        except (OSError, http.client.HTTPException) as error:
            last = repr(error)
        finally:
            connection.close()
        time.sleep(PAUSE_S)
    raise BenchError(f"{program.name} was not ready within {READY_S:.0f} s, last answer: {last}\n{program.last_words()}")


def check_answers(name: str, port: int, bodies: list[bytes], is_right: Callable[[bytes], bool]) -> None:
    """Every body on one connection: the right answer must come back, and the connection must be kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_S)
    try:
        for body in bodies:
            connection.request("POST", CHAT, body, JSON)
            response = connection.getresponse()
            answer = response.read()
            if response.status != 200 or not is_right(answer):
                raise BenchError(f"{name} answered {response.status} {answer[:200]!r}")
            if response.will_close:
                raise BenchError(f"{name} does not keep its connection")
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{name}: {error!r}") from error
    finally:
        connection.close()


def nginx_counters(port: int) -> tuple[int, int]:
    """Connections accepted and requests served since nginx started (stub_status)."""
    lines = fetch(f"http://127.0.0.1:{port}/status", REQUEST_S).decode().splitlines()
    accepted, _, served = (int(word) for word in lines[2].split())
    return accepted, served


def fetch(url: str, timeout_s: float) -> bytes:
    """The body of an answer with status 200, past all proxies. Errors: OSError, http.client.HTTPException."""
    with OPENER.open(url, timeout=timeout_s) as response:
        body: bytes = response.read()
        return body
