# SPDX-License-Identifier: Apache-2.0
"""Readers whose network went away without a word: a network namespace whose link is taken down. Needs root and `ip`."""
import os
import shutil
import subprocess
import time

from harness import PATIENCE, Source, System, main, skip, until


def ip(*words, check=True):
    return subprocess.run(["ip", *words], check=check, capture_output=True, text=True)


def followers(s):
    for line in s.get("/metrics")[2].decode().splitlines():
        if line.startswith("sandlog_gateway_followers_count "):
            return int(line.split()[1])


def peers_that_vanish_are_let_go_within_30_seconds():
    if os.geteuid() != 0 or not shutil.which("ip"):
        skip("needs root and ip")
    tag = f"sl{os.getpid() % 100000}"
    if ip("netns", "add", tag, check=False).returncode != 0:
        skip("network namespaces are not allowed here")
    readers = []
    try:
        ip("link", "add", tag + "h", "type", "veth", "peer", "name", tag + "n", "netns", tag)
        net = f"10.{os.getpid() % 200 + 20}.77"
        ip("addr", "add", f"{net}.1/24", "dev", tag + "h")
        ip("link", "set", tag + "h", "up")
        if ip("-n", tag, "addr", "add", f"{net}.2/24", "dev", tag + "n", check=False).returncode != 0:
            skip("network namespaces can't be entered here")
        ip("-n", tag, "link", "set", tag + "n", "up")
        with System(gateway=("--insecure-no-auth",)) as s:
            s.stop("gateway")
            s.extra["gateway"] = ["--insecure-no-auth", "--listen", f"0.0.0.0:{s.port}"]
            s.start("gateway")
            s.ready()
            busy, quiet = Source(s, "busy"), Source(s, "quiet")
            for source in (busy, quiet):
                source.write(1)
                s.has(source.sandbox, 1)
            for sandbox, form in (("busy", "sse"), ("quiet", "sse"), ("quiet", "text")):
                readers.append(subprocess.Popen(["ip", "netns", "exec", tag, "curl", "-sN", "-o", "/dev/null",
                                                 f"http://{net}.1:{s.port}{s.url(sandbox, follow=1, format=form)}"]))
            until(lambda: followers(s) == 3, 10, "three follow")
            ip("link", "set", tag + "h", "down")
            down = time.monotonic()
            while followers(s) > 0:
                busy.write(1)
                assert time.monotonic() - down < 35 * PATIENCE, followers(s)
                time.sleep(0.5)
            assert time.monotonic() - down < 32 * PATIENCE
    finally:
        for r in readers:
            r.kill()
            r.wait()
        ip("link", "del", tag + "h", check=False)
        ip("netns", "del", tag, check=False)


if __name__ == "__main__":
    main([peers_that_vanish_are_let_go_within_30_seconds])
