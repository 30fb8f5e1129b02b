"""Chromium without a window, for tests of what a page does in it."""

import fcntl
import itertools
import json
import os
import shutil
import subprocess
import threading

import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


class Browser:
    """A headless Chromium with one page, spoken to through a pipe (Chrome DevTools Protocol)."""

    def __init__(self, profile):
        theirs, self._commands = os.pipe()
        self._answers, back = os.pipe()
        passed = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (theirs, back)]
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        script = f'exec "$@" 3<&{passed[0]} 4>&{passed[1]}'  # where Chromium looks for them
        self._process = subprocess.Popen(
            ["bash", "-c", script, "-", CHROMIUM, *flags], pass_fds=passed, stderr=subprocess.DEVNULL
        )
        for end in (theirs, back, *passed):
            os.close(end)
        self._patience = threading.Timer(60, self._process.kill)
        self._patience.start()
        self._numbers, self._reader, self._session = itertools.count(1), os.fdopen(self._answers, "rb"), {}
        self.events = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = {"sessionId": self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]}
        for domain in ("Page", "Log", "Network", "Runtime"):
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        message = {"id": next(self._numbers), "method": method, "params": params, **self._session}
        os.write(self._commands, json.dumps(message).encode() + b"\0")
        while (answer := self._receive()).get("id") != message["id"]:
            self.events.append(answer)
        return answer["result"]

    def _receive(self):
        data = b"".join(iter(lambda: self._reader.read(1) or pytest.fail("the browser is gone"), b"\0"))
        return json.loads(data)

    def open(self, path):
        self.call("Page.navigate", url=path.as_uri())
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(self._receive())

    def evaluate(self, expression):
        result = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def close(self):
        self._patience.cancel()
        self._process.kill()
        self._process.wait()
        self._reader.close()
        os.close(self._commands)
