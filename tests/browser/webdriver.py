"""A headless Chromium, driven through chromedriver by what Python has on board (WebDriver is HTTP and JSON)."""

import base64
import json
import re
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
PATIENCE_S = 30
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-default-apps", "--no-default-browser-check",
    "--disable-dev-shm-usage", "--hide-scrollbars",
]


class Browser:
    """One browser with a profile of its own. Pages run no scripts: they are to do without."""

    def __init__(self, downloads):
        self.profile = tempfile.mkdtemp(prefix="browser-")
        self.driver = subprocess.Popen(
            ["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        try:
            self.url = f"http://127.0.0.1:{self._port()}"
            options = {
                "args": [*FLAGS, f"--user-data-dir={self.profile}"],
                "prefs": {
                    "profile.managed_default_content_settings.javascript": 2,
                    "download.default_directory": str(downloads),
                    "download.prompt_for_download": False,
                },
            }
            wanted = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
            session = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self.version = session["capabilities"]["browserVersion"]
            self.url += f"/session/{session['sessionId']}"
        except BaseException:
            self.close()
            raise

    def _port(self):
        for line in self.driver.stdout:
            found = re.search(r"started successfully on port (\d+)", line)
            if found:
                return int(found[1])
        raise RuntimeError("chromedriver did not start")

    def close(self):
        if "/session/" in getattr(self, "url", ""):
            try:
                self._call("DELETE", "")
            except (OSError, RuntimeError):
                pass
        self.driver.terminate()
        self.driver.wait(PATIENCE_S)
        self.driver.stdout.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def _call(self, method, path, body=None):
        data = None if method != "POST" else json.dumps(body or {}).encode()
        request = urllib.request.Request(self.url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=2 * PATIENCE_S) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            value = json.load(error)["value"]
            raise RuntimeError(f"{value['error']}: {value['message']}") from None

    def cdp(self, command, **parameters):
        """A command of the browser's own protocol."""
        return self._call("POST", "/goog/cdp/execute", {"cmd": command, "params": parameters})

    def open(self, url):
        self._call("POST", "/url", {"url": url})

    def address(self):
        return self._call("GET", "/url")

    def title(self):
        return self._call("GET", "/title")

    def source(self):
        return self._call("GET", "/source")

    def all(self, css):
        found = self._call("POST", "/elements", {"using": "css selector", "value": css})
        return [Element(self, each[ELEMENT]) for each in found]

    def one(self, css):
        found = self.all(css)
        if len(found) != 1:
            raise AssertionError(f"{len(found)} of {css} at {self.address()}")
        return found[0]

    def link(self, text):
        found = self._call("POST", "/elements", {"using": "link text", "value": text})
        if len(found) != 1:
            raise AssertionError(f"{len(found)} links {text} at {self.address()}")
        return Element(self, found[0][ELEMENT])

    def active(self):
        return Element(self, self._call("GET", "/element/active")[ELEMENT])

    def press(self, key):
        down_and_up = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._call("POST", "/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": down_and_up}]})

    def follow(self, action):
        """Does what leads to another page, and waits for it. (A click returns when the browser has begun to think.)"""
        before = self.one("html")
        action()
        wait_for("another page", before.is_gone)

    def console(self):
        """What was written there since the last call: whatever the browser refused to load or run is in it."""
        return self._call("POST", "/se/log", {"type": "browser"})

    def window(self, width, height, scheme):
        """A window so many CSS pixels wide, of somebody who prefers a light or a dark scheme."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600
        )
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.cdp("Emulation.setEmulatedMedia", features=[feature])

    def content_width(self):
        """CSS pixels that the page takes: more than the window's are a page that scrolls sideways."""
        return self.cdp("Page.getLayoutMetrics")["cssContentSize"]["width"]

    def screenshot(self, path):
        image = self.cdp("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(image["data"]))

    def accessible(self):
        """Roles and names as assistive technology hears them."""
        nodes = self.cdp("Accessibility.getFullAXTree")["nodes"]
        seen = (node for node in nodes if not node.get("ignored"))
        return [(node["role"]["value"], node.get("name", {}).get("value", "")) for node in seen if "role" in node]


class Element:
    def __init__(self, browser, number):
        self.browser = browser
        self.path = f"/element/{number}"

    def click(self):
        self.browser._call("POST", self.path + "/click")

    def write(self, text):
        self.browser._call("POST", self.path + "/value", {"text": text})

    def clear(self):
        self.browser._call("POST", self.path + "/clear")

    def text(self):
        return self.browser._call("GET", self.path + "/text")

    def attribute(self, name):
        return self.browser._call("GET", f"{self.path}/attribute/{name}")

    def tag(self):
        return self.browser._call("GET", self.path + "/name")

    def is_gone(self):
        try:
            self.tag()
        except RuntimeError as error:
            if str(error).startswith("stale element reference"):
                return True
            raise
        return False

    def style(self, name):
        return self.browser._call("GET", f"{self.path}/css/{name}")


def wait_for(what, condition):
    until = time.monotonic() + PATIENCE_S
    while not (found := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"{what} did not come")
        time.sleep(0.05)
    return found
