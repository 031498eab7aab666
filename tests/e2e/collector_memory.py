# SPDX-License-Identifier: Apache-2.0
"""Memory stays under what is configured, whatever arrives, under a limit of the kernel's where this machine lets one be set.
`collector_memory.py 2048 10000`: an endless line of so many MiB, so many files while the broker is away; smaller ones without."""
import hashlib
import http.client
import json
import os
import sys

from collector_direct import Direct
from collector_load import peak_kib
from harness import PATIENCE, main, rfc3339, until

NUMBERS = [int(a) for a in sys.argv[1:] if a.isdigit()]
sys.argv[1:] = [a for a in sys.argv[1:] if not a.isdigit()]
MIB, FILES = NUMBERS if len(NUMBERS) == 2 else (192, 2000)
MEMORY = 16 << 20
FIXED = 32 << 20  # what the collector may have beside --memory and its files


class Limited:
    """A memory cgroup (version 2 or 1) for one process: what goes beyond is killed by the kernel."""

    def __init__(self, process, limit):
        self.folder = None
        for parent, name in (("/sys/fs/cgroup", "memory.max"), ("/sys/fs/cgroup/memory", "memory.limit_in_bytes")):
            folder = f"{parent}/sandlog-test-{process.pid}"
            try:
                os.mkdir(folder)
            except OSError:
                continue
            self.folder = folder
            try:
                for file, value in ((name, limit), ("cgroup.procs", process.pid)):
                    with open(f"{folder}/{file}", "r+") as f:  # that is there: the kernel's, not one of ours
                        f.write(str(value))
                return
            except OSError:
                self.close()

    def close(self):
        if self.folder:
            until(lambda: self.gone(), 10, "its cgroup is empty")

    def gone(self):
        try:
            os.rmdir(self.folder)
            return True
        except OSError:
            return False


def check_memory(s, files, what):
    peak = peak_kib(s.process["collector"])
    allowed = (MEMORY + FIXED >> 10) + 2 * files
    print(f"   {what}: peak {peak / 1024:.0f} of {allowed / 1024:.0f} MiB")
    assert peak < allowed or "SANDLOG_PATIENCE" in os.environ, (peak, allowed)


def limit(s, files):
    return Limited(s.process["collector"], MEMORY + FIXED + (files << 11)) if "SANDLOG_PATIENCE" not in os.environ else None


def under_limit(s, group):
    if group:
        print("   under a limit of the kernel's" if group.folder else "   no cgroup here: the peak alone is looked at")
        s.kill("collector")
        group.close()


def an_endless_line_comes_through_in_pieces():
    with Direct(["plain:LOGS/{sandbox}/console"], ["--memory", str(MEMORY)], start=False) as s:
        s.extra["broker"] = ["--sandbox-bytes", "0"]
        for name in ("broker", "collector", "gateway"):
            s.start(name)
        s.ready()
        group = limit(s, 1)
        noise = os.urandom(1 << 20).replace(b"\n", b"n")
        wrote, got, count = hashlib.sha256(), hashlib.sha256(), 0
        os.mkdir(s.logs + "/endless")
        with open(s.logs + "/endless/console", "wb", buffering=0) as f:
            for i in range(MIB):
                piece = b"%08x" % i + noise[8:]
                f.write(piece)
                wrote.update(piece)
        with open(s.logs + "/endless/exit_code", "w") as f:
            f.write("0")
        s.stopped("endless", 30 + MIB / 10)
        c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60 * PATIENCE)
        c.request("GET", s.url("endless"))
        r = c.getresponse()
        while data := r.read(1 << 20):
            got.update(data)
            count += len(data)
        assert (r.status, count) == (200, MIB << 20), (r.status, count, list(r.headers.items()))
        assert got.digest() == wrote.digest(), "the bytes are others"
        check_memory(s, 1, f"{MIB} MiB without a newline")
        under_limit(s, group)


def files_written_while_the_broker_is_away_wait_in_their_files():
    with Direct(["cri:LOGS/{sandbox}/{container}.log"], ["--memory", str(MEMORY)], start=False) as s:
        s.start("collector")
        group = limit(s, FILES)
        text = b"".join(rfc3339(i).encode() + b" stdout F " + os.urandom(30).hex().encode() + b"\n" for i in range(100))
        for i in range(FILES):
            os.mkdir(f"{s.logs}/box{i}")
            with open(f"{s.logs}/box{i}/main.log", "wb") as f:
                f.write(text)
        until(lambda: s.metric("files ") == FILES, 30 + FILES / 100, "all met")
        s.start("broker")
        s.start("gateway")
        s.ready()

        def lines():
            page, total = "", 0
            while page is not None:
                status, _, data = s.get("/v1/sandboxes?limit=1000" + (f"&page={page}" if page else ""))
                if status != 200:
                    return 0
                body = json.loads(data)
                total += sum(box["lines"] for box in body["sandboxes"])
                page = body.get("next_page")
            return total
        until(lambda: lines() >= 100 * FILES, 30 + FILES / 100, "all lines")
        assert lines() == 100 * FILES
        want = b"".join(line.split(b" ", 3)[3] + b"\n" for line in text.split(b"\n") if line)
        for i in range(0, FILES, max(1, FILES // 50)):
            assert s.text(f"box{i}") == want, i
        check_memory(s, FILES, f"{FILES} files")
        under_limit(s, group)


if __name__ == "__main__":
    main([an_endless_line_comes_through_in_pieces, files_written_while_the_broker_is_away_wait_in_their_files])
