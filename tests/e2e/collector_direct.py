# SPDX-License-Identifier: Apache-2.0
"""What the collector's tests share: a System without gateway, read back from the broker itself with `dump`."""
import json
import os
import subprocess
import sys
import threading
import time

from harness import BIN, PATIENCE, System, free_port, until

DUMP = os.path.join(BIN, "../tests/dump")
STOPPED = 3


class Direct(System):
    """broker and collector; watch specs may use LOGS for the folder of the logs."""

    def __init__(self, watch=("cri:LOGS/{sandbox}/{container}.log",), collector=(), start=True):
        super().__init__(collector=collector, start=False)
        self.watch = [w.replace("LOGS", self.logs) for w in watch]
        if start:
            try:
                self.start("broker")
                self.start("collector")
                self.up()
            except BaseException:
                self.close()
                raise

    def up(self):
        until(lambda: self.probe(self.collector_port), 15, "collector ready\n" + self.errors())

    def dump(self, sandbox, *more):
        r = subprocess.run([DUMP, f"ipc://{self.dir}/query.sock", sandbox, *more], stdout=subprocess.PIPE,
                           stdin=subprocess.DEVNULL, timeout=60 * PATIENCE)
        if r.returncode == 3:
            return []
        assert r.returncode == 0, r.returncode
        objects = [json.loads(line) for line in r.stdout.split(b"\n") if line]
        for o in objects:
            if "hex" in o:
                o["line"] = bytes.fromhex(o.pop("hex"))
        return objects

    def lines(self, sandbox):
        return [o for o in self.dump(sandbox) if "seq" in o]

    def gaps(self, sandbox):
        return [o for o in self.dump(sandbox) if o.get("event") == "gap"]

    def state(self, sandbox):
        objects = self.dump(sandbox, "state")
        return objects[-1] if objects else None

    def count(self, sandbox):
        state = self.state(sandbox)
        return state["last_seq"] if state else 0

    def has(self, sandbox, count, seconds=20):
        until(lambda: self.count(sandbox) >= count, seconds,
              f"{count} lines of {sandbox}, now {self.count(sandbox)}\n{self.errors()}")

    def stopped(self, sandbox, seconds=30):
        until(lambda: (self.state(sandbox) or {}).get("state") == STOPPED, seconds,
              f"{sandbox} stopped: {self.state(sandbox)}\n{self.errors()}")

    def metric(self, name):
        _, _, body = self.request("GET", "/metrics", port=self.collector_port)
        return sum(float(line.split()[-1]) for line in body.decode().splitlines()
                   if line.startswith("sandlog_collector_" + name) and not line.startswith("#"))


def compare(source, lines, what, times=True):
    """Every line of the ledger once, in order, byte for byte; pieces are joined first."""
    assert [o["seq"] for o in lines] == list(range(1, len(lines) + 1)), f"{what}: seq not contiguous"
    open_text, got = {}, []
    for o in lines:
        first, text = open_text.pop(o["stream"], (o["time"], b""))
        if o["partial"]:
            open_text[o["stream"]] = (first, text + o["line"])
        else:
            got.append((first, o["stream"], text + o["line"]))
    got += [(first, stream, text) for stream, (first, text) in open_text.items()]
    places = {}
    for i, (_, _, text) in enumerate(got):
        places.setdefault(text, []).append(i)
    for i, (want, have) in enumerate(zip(source.written, got)):
        ns, stream, text = want
        assert have[2] == text, f"{what}: line {i} of {len(source.written)} is at {places.get(text)} of {len(got)}: line {i}: wrote {text[:90]!r} ({len(text)}), read {have[2][:90]!r} ({len(have[2])})"
        assert have[1] == stream, f"{what}: line {i}: stream {have[1]}"
        assert ns is None or not times or have[0] == ns, f"{what}: line {i}: time {have[0]}, wrote {ns}"
    assert len(got) == len(source.written), f"{what}: wrote {len(source.written)} lines, read {len(got)}"


def write_steadily(sources, rate, seconds, also=None):
    """`rate` lines/s into each, in batches; `also(source)` now and then is called between two batches."""
    start, done = time.monotonic(), 0
    while (now := time.monotonic() - start) < seconds:
        due = int(now * rate) - done
        for source in sources:
            if due > 0:
                source.write(due)
                if also:
                    also(source)
        done += max(due, 0)
        time.sleep(0.005)


def in_background(function, *arguments):
    t = threading.Thread(target=function, args=arguments)
    t.start()
    return t


if __name__ == "__main__":
    sys.exit("this is no test of its own")
