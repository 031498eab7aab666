# SPDX-License-Identifier: Apache-2.0
"""The log page for everybody and everywhere: accessible, embedded by a dashboard of another origin, behind a token, in a flood.
"""
import base64
import hashlib
import hmac
import http.server
import json
import os
import shutil
import subprocess
import threading
import time

from browser import Page, texts_of
from harness import Source, System, main, skip, until

SECRET = b"0123456789abcdef0123456789abcdef"


def token(**claims):
    def b64(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    head = b64(b'{"alg":"HS256","typ":"JWT"}') + "." + b64(json.dumps(dict(claims, exp=int(time.time()) + 600)).encode())
    return head + "." + b64(hmac.new(SECRET, head.encode(), hashlib.sha256).digest())


def axe(folder):
    """axe-core (Deque, MPL-2.0): the checks of WCAG that a program can make."""
    if not shutil.which("npm"):
        skip("no npm to fetch axe-core with")
    if subprocess.run(["npm", "install", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", folder, "axe-core"],
                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        skip("axe-core can't be installed")
    with open(f"{folder}/node_modules/axe-core/axe.min.js") as f:
        return f.read()


def everybody_can_read_it_in_both_themes():
    with System() as s:
        source = axe(s.dir)
        Source(s, "box").write(200)
        with open(f"{s.logs}/box/main.log", "ab") as f:
            for code in range(30, 38):
                f.write(f"2026-01-01T00:00:00Z stdout F \x1b[{code}mcolour {code}\x1b[0m \x1b[{code + 60};1mbright\x1b[0m \x1b[{code + 10}mbehind\x1b[0m\n".encode())
        s.has("box", 208)
        s.put("job", state="stopped", exit_code=2)
        until(lambda: s.info("job")["state"] == "stopped", 10, "stopped")
        with Page(s) as p:
            p.driver.set_script_timeout(60)
            for dark in (False, True):
                p.dark(dark)
                for path, there in (("/", "li"), ("/?sandbox=box", ".line"), ("/?sandbox=job", ".state.ended"), ("/?sandbox=nobody", ".state.failed")):
                    p.open(path)
                    until(lambda: p.js("return document.querySelectorAll(arguments[0]).length", there), 20, f"{path} shows {there}")
                    p.js(source)
                    wrong = p.driver.execute_async_script("""const done = arguments[arguments.length - 1];
                        axe.run(document).then(({ violations }) => done(violations.map((v) => [v.id, v.nodes.map((n) => n.failureSummary)])))""")
                    assert not wrong, (path, dark, wrong)
                    p.shot(f"reach-{'dark' if dark else 'light'}-{there.strip('.')}")


class Dashboard:
    """Somebody else's page, of another origin, that embeds the log with one call."""

    def __init__(self):
        dashboard = self
        self.script = ""

        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.end_headers()
                self.wfile.write(f"<!doctype html><meta charset=utf-8><title>d</title><div id=here style='height:400px'></div>{dashboard.script}".encode())

            def log_message(self, *_):
                pass
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def a_dashboard_of_another_origin_embeds_it():
    dashboard = Dashboard()
    key = f"/tmp/sandlog-page-key-{os.getpid()}"
    with open(key, "wb") as f:
        f.write(SECRET)
    try:
        with System(gateway=("--allow-origin", dashboard.origin, "--token-key", key)) as s, Page(s) as p:
            source = Source(s, "box")
            source.write(50)
            gateway = f"http://127.0.0.1:{s.port}"
            bearer = token(scope="read", sandboxes=["box"])
            until(lambda: s.request("GET", "/v1/sandboxes/box", headers={"Authorization": "Bearer " + bearer})[0] == 200, 20, "stored")
            dashboard.script = f"""<link rel=stylesheet href="{gateway}/page/page.css"><script type=module>
                import {{ openLog }} from "{gateway}/page/log.js";
                window.log = openLog(document.getElementById("here"), {{ sandbox: "box", server: "{gateway}", token: "{bearer}" }});
                </script>"""
            p.driver.get(dashboard.origin + "/")
            p.has(50)
            source.write(10)
            p.has(60)
            assert p.texts() == texts_of(source)
            assert p.state() == "live" and not p.complaints(), p.complaints()
            p.shot("embedded")
            # what a link can't do with a token, the page does
            p.driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": s.dir})
            p.js("document.querySelector('a[download]').click()")
            until(lambda: os.path.exists(f"{s.dir}/box.log"), 20, "the log is a file")
            with open(f"{s.dir}/box.log", "rb") as f:
                assert f.read() == b"".join(t + b"\n" for _, _, t in source.written)
            p.js("window.log.close()")
            assert p.js("return document.getElementById('here').children.length") == 0
    finally:
        dashboard.close()
        os.unlink(key)


def a_token_is_asked_for_and_kept_for_the_tab_only():
    key = f"/tmp/sandlog-page-key-{os.getpid()}"
    with open(key, "wb") as f:
        f.write(SECRET)
    try:
        with System(gateway=("--token-key", key)) as s, Page(s) as p:
            source = Source(s, "box")
            source.write(5)
            p.open("/?sandbox=box")
            until(lambda: p.js("return document.querySelector('.token input')"), 20, "the token is asked for")
            p.js("document.querySelector('.token input').value = arguments[0]; document.querySelector('.token').requestSubmit()",
                 token(scope="read", sandboxes=["box"]))
            p.has(5)
            assert p.texts() == texts_of(source)
            assert p.js("return localStorage.length + document.cookie.length") == 0 and "token" not in p.driver.current_url
    finally:
        os.unlink(key)


def a_flood_is_kept_up_with():
    with System() as s, Page(s) as p:
        source = Source(s, "box")
        source.write(500)
        s.has("box", 500)
        p.open("/?sandbox=box")
        p.has(500)
        for _ in range(15):
            source.write(10_000)
        want = texts_of(source)
        until(lambda: p.texts()[-1:] == want[-1:], 60, "the end is there")
        assert p.state() == "live"
        got = p.texts()
        assert len(got) <= 10_000 and got == want[-len(got):], "one run of consecutive lines"
        # and what ran past unread is above
        p.scroll(0)
        until(lambda: len(p.texts()) > len(got), 20, "the page above")
        more = p.texts()
        assert more == want[-len(more):]


if __name__ == "__main__":
    main([everybody_can_read_it_in_both_themes, a_dashboard_of_another_origin_embeds_it,
          a_token_is_asked_for_and_kept_for_the_tab_only, a_flood_is_kept_up_with])
