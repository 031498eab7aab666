# SPDX-License-Identifier: Apache-2.0
"""Headless Chromium on a gateway's log page. Chromium, its driver and Selenium come from Debian (chromium-driver,
python3-selenium); as root they are installed if missing. Screenshots go to $SANDLOG_SHOTS if that is set.
"""
import os
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from harness import skip, until  # noqa: E402


def provide():
    try:
        import selenium.webdriver  # noqa: F401
    except ImportError:
        selenium = None
    else:
        selenium = True
    if not selenium or not shutil.which("chromedriver") or not shutil.which("chromium"):
        if os.geteuid() != 0 or not shutil.which("apt-get"):
            skip("Chromium, chromedriver or Selenium is missing and can't be installed without root")
        env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        done = subprocess.run(["apt-get", "install", "-y", "-qq", "chromium", "chromium-driver", "python3-selenium"], env=env,
                              stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        if done.returncode != 0:
            skip("chromium could not be installed from Debian")
        if not selenium:
            os.execv("/usr/bin/python3", ["/usr/bin/python3"] + sys.argv)


provide()
from selenium import webdriver  # noqa: E402
from selenium.webdriver.chrome.service import Service  # noqa: E402


class Page:
    def __init__(self, system, size="1200,800"):
        options = webdriver.ChromeOptions()
        self.profile = f"{system.dir}/chromium"
        for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
                     "--disable-background-networking", "--disable-component-update", f"--window-size={size}",
                     f"--user-data-dir={self.profile}"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
        self.system = system

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.driver.quit()

    def open(self, path):
        self.driver.get(f"http://127.0.0.1:{self.system.port}{path}")

    def js(self, script, *args):
        return self.driver.execute_script(script, *args)

    def frames(self, count):
        """Waits until so many frames have been drawn; returns None."""
        self.driver.execute_async_script(
            "const done = arguments[1]; const next = (n) => n ? requestAnimationFrame(() => next(n - 1)) : done(); next(arguments[0])", count)

    def texts(self):
        return self.js("return [...document.querySelectorAll('.line .text')].map(e => e.textContent)")

    def state(self):
        return self.js("return document.querySelector('.state')?.textContent")

    def has(self, count):
        until(lambda: len(self.texts()) >= count, 20, f"{count} lines on the page; {len(self.texts())}, {self.state()}")

    def scroll(self, top):
        self.js("const l = document.querySelector('.lines'); l.scrollTop = arguments[0] < 0 ? l.scrollHeight : arguments[0]", top)

    def shot(self, name):
        folder = os.environ.get("SANDLOG_SHOTS")
        if folder:
            self.driver.save_screenshot(os.path.join(folder, name + ".png"))

    def dark(self, on):
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": "dark" if on else "light"}]})

    def complaints(self):
        """What Chromium holds against the page; a 409 is how the gateway says that a sandbox has stopped."""
        return [e for e in self.driver.get_log("browser") if e["level"] == "SEVERE" and "409 (Conflict)" not in e["message"]]


def texts_of(source):
    return [t.decode() for _, _, t in source.written]
