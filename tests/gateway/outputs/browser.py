"""A headless Chromium, spoken to over its DevTools protocol."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import signal
import subprocess
import time
from pathlib import Path

from websockets.sync.client import connect

from tests.needs import need

FLAGS = [
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-port=0",
]  # fmt: skip


class Browser:
    """One page. `said` collects what it logs: errors, and what its Content-Security-Policy stops."""

    def __init__(self, profile: Path):
        chromium = need("chromium", "chromium-browser", "google-chrome")
        self.said, self.asked, self._number = [], [], 0
        self._opened = contextlib.ExitStack()
        self.process = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            start_new_session=True,  # its children are ended with it, whatever happens
        )  # fmt: skip
        try:
            self._connect(profile / "DevToolsActivePort")
        except BaseException:
            self.close()
            raise

    def _connect(self, port_file):
        self._until(
            lambda: (
                port_file.exists() and len(port_file.read_text(encoding="utf-8").splitlines()) == 2
            )
        )
        port, path = port_file.read_text(encoding="utf-8").splitlines()
        address = f"ws://127.0.0.1:{port}{path}"
        self.socket = self._opened.enter_context(connect(address, max_size=None))
        target = self._call("Target.createTarget", url="about:blank")["targetId"]
        answer = self._call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": answer["sessionId"]}
        for domain in ("Page", "Runtime", "Log", "Network"):
            self._call(f"{domain}.enable")

    _session: dict = {}

    def _call(self, method, **params):
        self._number += 1
        message = {"id": self._number, "method": method, "params": params, **self._session}
        self.socket.send(json.dumps(message))
        while True:
            answer = json.loads(self.socket.recv(timeout=100))
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]
            self._hear(answer)

    def _hear(self, heard):
        kind, params = heard.get("method"), heard.get("params", {})
        if kind == "Log.entryAdded":
            self.said.append(params["entry"]["text"])
        elif kind == "Runtime.exceptionThrown":
            self.said.append(json.dumps(params["exceptionDetails"])[:500])
        elif kind == "Network.requestWillBeSent":
            self.asked.append(params["request"]["url"])

    def _until(self, condition, seconds=20.0):
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"it did not happen in time; the page said {self.said}"
            time.sleep(0.05)

    def size(self, width, height, *, dark=False, scale=1):
        self._call("Emulation.setDeviceMetricsOverride", width=width, height=height,
                   deviceScaleFactor=scale, mobile=width < 500)  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, url):
        self._call("Page.navigate", url=url)

    def run(self, script):
        answer = self._call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def until(self, script, seconds=20.0):
        """Until it is true. While the page is exchanged for another, nothing is."""

        def holds():
            try:
                return self.run(script)
            except RuntimeError:
                return False

        self._until(holds, seconds)

    def text(self, selector):
        return self.run(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''")

    def screenshot(self, path, *, whole=True):
        answer = self._call("Page.captureScreenshot", captureBeyondViewport=whole)
        Path(path).write_bytes(base64.b64decode(answer["data"]))

    def close(self):
        with contextlib.suppress(Exception):  # a browser that has crashed
            self._opened.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
