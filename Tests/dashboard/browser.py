"""A headless Chromium, spoken to by the DevTools protocol over a pipe: no port, no package."""
from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any, Callable

FLAGS = (
    "--headless=new --no-sandbox --disable-gpu --hide-scrollbars --mute-audio --no-first-run --no-default-browser-check "
    "--disable-background-networking --disable-component-update --disable-sync --disable-extensions "
    "--disable-dev-shm-usage --disable-features=Translate,MediaRouter,OptimizationHints --force-color-profile=srgb "
    "--lang=en-GB --no-proxy-server --remote-debugging-pipe"
).split()


class Browser:
    """Starts on entry; on exit ends the process it started, and no other."""

    def __init__(self, program: str) -> None:
        self.program = program
        self.pending = b""
        self.last_id = 0
        self.events: list[dict[str, Any]] = []

    def __enter__(self) -> Browser:
        self.profile = tempfile.mkdtemp(prefix="gotoni-dashboard-")
        to_browser, self.send_fd = os.pipe()
        self.receive_fd, from_browser = os.pipe()
        # Chromium reads commands from 3 and writes answers to 4; the shell moves our ends there.
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", f'exec 3<&{to_browser} 4>&{from_browser}; exec "$@"', "sh", self.program, *FLAGS,
             f"--user-data-dir={self.profile}", "about:blank"],
            pass_fds=(to_browser, from_browser), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, env={**os.environ, "TZ": "UTC", "HOME": self.profile}, start_new_session=True)
        os.close(to_browser)
        os.close(from_browser)
        self.command("Browser.getVersion", timeout=30)
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self.command("Browser.close", timeout=5)
            self.process.wait(5)
        except Exception:  # it is ended below, whatever it says
            pass
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)  # the session of its own that it was started in
            self.process.wait(5)
        os.close(self.send_fd)
        os.close(self.receive_fd)
        shutil.rmtree(self.profile, ignore_errors=True)

    def command(self, method: str, params: dict[str, Any] | None = None, session: str | None = None,
                timeout: float = 20) -> dict[str, Any]:
        self.last_id += 1
        wanted = self.last_id
        message: dict[str, Any] = {"id": wanted, "method": method, "params": params or {}}
        if session:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self.send_fd, data):]
        deadline = time.monotonic() + timeout
        while True:
            answer = self.receive(deadline - time.monotonic())
            if answer is None:
                raise TimeoutError(f"{method}: no answer within {timeout} s")
            if answer.get("id") == wanted:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            if "method" in answer:
                self.events.append(answer)

    def receive(self, seconds: float) -> dict[str, Any] | None:
        deadline = time.monotonic() + seconds
        while b"\0" not in self.pending:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.receive_fd], [], [], left)[0]:
                return None
            data = os.read(self.receive_fd, 1 << 20)
            if not data:
                raise RuntimeError("the browser ended")
            self.pending += data
        message, self.pending = self.pending.split(b"\0", 1)
        return json.loads(message)

    def page(self, url: str, width: int = 1280, height: int = 800, dark: bool = False, before: str = "") -> Page:
        return Page(self, url, width, height, dark, before)


class Page:
    """One tab. It keeps what the console, the security log and the network said."""

    def __init__(self, browser: Browser, url: str, width: int, height: int, dark: bool, before: str) -> None:
        self.browser = browser
        self.size = (width, height)
        # Each tab is of its own context: no storage is shared.
        self.context = browser.command("Target.createBrowserContext")["browserContextId"]
        target = browser.command("Target.createTarget", {"url": "about:blank", "browserContextId": self.context})
        self.target = target["targetId"]
        self.session = browser.command("Target.attachToTarget", {"targetId": self.target, "flatten": True})["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "Performance"):
            self.do(f"{domain}.enable")
        self.resize(width, height)
        self.do("Emulation.setEmulatedMedia", {"features": [
            {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]})
        if before:
            self.do("Page.addScriptToEvaluateOnNewDocument", {"source": before})
        self.do("Page.navigate", {"url": url})

    def do(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.browser.command(method, params, self.session)

    def resize(self, width: int, height: int) -> None:
        self.size = (width, height)
        self.do("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600})

    def value(self, expression: str) -> Any:
        result = self.do("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True})
        if "exceptionDetails" in result:
            raise RuntimeError(json.dumps(result["exceptionDetails"])[:500])
        return result["result"].get("value")

    def wait(self, expression: str, seconds: float = 10) -> bool:
        """Until the expression holds; it is asked again, not slept for."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.value(f"!!({expression})"):
                    return True
            except RuntimeError:
                pass  # between two documents there is nothing to ask
            self.browser_events(0.05)
        return False

    def browser_events(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            message = self.browser.receive(left)
            if message and "method" in message:
                self.browser.events.append(message)

    def said(self, select_events: Callable[[dict[str, Any]], Any]) -> list[Any]:
        return [found for event in self.browser.events if event.get("sessionId") == self.session
                and (found := select_events(event)) is not None]

    def complaints(self) -> list[str]:
        """Exceptions, console output and log entries, but for those of the network, which some checks cause."""
        def complaint(event: dict[str, Any]) -> str | None:
            method, params = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                details = params["exceptionDetails"]
                return details.get("exception", {}).get("description", details["text"])
            if method == "Runtime.consoleAPICalled":
                return f"console.{params['type']}: {params['args']}"
            if method == "Log.entryAdded" and params["entry"]["source"] != "network":
                return params["entry"]["text"]
            if method == "Page.javascriptDialogOpening":
                return "a dialog: " + params["message"]
            return None
        return self.said(complaint)

    def requests(self) -> list[str]:
        return self.said(lambda e: e["params"]["request"]["url"] if e["method"] == "Network.requestWillBeSent" else None)

    def metric(self, name: str) -> float:
        return next(m["value"] for m in self.do("Performance.getMetrics")["metrics"] if m["name"] == name)

    def screenshot(self, path: Path, whole: bool = False) -> None:
        params: dict[str, Any] = {"format": "png"}
        if whole:
            height = self.value("document.documentElement.scrollHeight")
            params |= {"captureBeyondViewport": True,
                       "clip": {"x": 0, "y": 0, "width": self.size[0], "height": height, "scale": 1}}
        path.write_bytes(base64.b64decode(self.do("Page.captureScreenshot", params)["data"]))

    def close(self) -> None:
        self.browser.command("Target.disposeBrowserContext", {"browserContextId": self.context})
        self.browser.events = [e for e in self.browser.events if e.get("sessionId") != self.session]
