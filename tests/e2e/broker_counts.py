# SPDX-License-Identifier: Apache-2.0
"""What a line costs on its way from a file to the disk and back, counted instead of timed: bytes on disk, syncs, writes, messages,
allocations in the broker and the collector; and that the broker decodes no block."""
import glob
import os
import shutil
import subprocess
import tempfile

from count_calls import ALLOCATIONS, Calls, counted, total
from harness import BIN, System, main, skip, until

FILES = os.path.join(BIN, "../bench/bench_cri_files")
SANDBOXES, LINES = 50, 200_000  # 4,000 lines of each, as in TARGETS row 7


def metric(system, daemon, name):
    port = system.collector_port if daemon == "collector" else system.broker_port
    _, _, body = system.request("GET", "/metrics", port=port)
    for line in body.decode().splitlines():
        if line.startswith(f"sandlog_{daemon}_{name} "):
            return float(line.split()[1])
    raise KeyError(name)


def on_disk(system):
    return sum(os.path.getsize(p) for p in glob.glob(system.dir + "/data/*"))


class World:
    """The fixed files of bench/cri_files.c, copied under a collector that is counted, as is its broker."""

    def __init__(self):
        if not os.path.exists(FILES):
            skip("no " + FILES)
        self.folder = tempfile.mkdtemp(prefix="sandlog-counts-")
        self.system = System(watch=[f"cri:{self.folder}/logs/{{sandbox}}/{{container}}.log"], start=False,
                             broker=("--compact-cpu", "100", "--compact-io", "0"))

    def __enter__(self):
        self.raw = int(subprocess.run([FILES, self.folder + "/logs", str(SANDBOXES), str(LINES)], stdout=subprocess.PIPE, check=True).stdout)
        with counted():
            self.system.start("broker")
            until(lambda: self.system.probe(self.system.broker_port), 20, "broker ready")
            self.calls = {"broker": Calls(self.system.process["broker"])}
            begun = self.calls["broker"].now()
            self.system.start("collector")
            self.calls["collector"] = Calls(self.system.process["collector"])
            until(lambda: metric(self.system, "broker", "ingest_lines_total") >= LINES, 60, "all lines durable")
            # the engine's own counts are told once a second
            until(lambda: metric(self.system, "collector", "requests_total") >= metric(self.system, "broker", "ingest_batches_total"), 20, "the collector's")
            until(lambda: metric(self.system, "broker", "store_bytes") > metric(self.system, "broker", "ingest_block_bytes_total"), 20, "the store's counts")
        self.broker, self.collector = (self.calls["broker"].since(begun), self.calls["collector"].now())
        return self

    def __exit__(self, kind, value, trace):
        self.system.__exit__(kind, value, trace)
        shutil.rmtree(self.folder, ignore_errors=True)


class Looks:
    """A condition, and how often it was looked at."""

    def __init__(self, condition):
        self.condition, self.count = condition, 0

    def __call__(self):
        self.count += 1
        return self.condition()


def at_most(what, have, bound):
    print(f"   {what}: {have:.4f}, at most {bound}", flush=True)
    assert have <= bound, f"{what}: {have:.4f}, more than {bound}"


def a_line_costs_what_it_did():
    with World() as w:
        system, broker, collector = w.system, w.broker, w.collector
        batches = metric(system, "broker", "ingest_batches_total")
        blocks = metric(system, "broker", "ingest_blocks_total")
        commits = metric(system, "broker", "store_commits_total")
        at_most("bytes on disk per byte of CRI text", on_disk(system) / w.raw, 0.29)
        # What waits goes with one write and one sync; a segment's directory takes one more.
        at_most("syncs per group commit", (total(broker, "fdatasync", "fsync").calls - 2) / commits, 1.0)
        at_most("group commits per batch", commits / batches, 1.0)
        at_most("writes to files per group commit", total(broker, "pwrite", "pwritev").calls / commits, 1.1)
        at_most("bytes written to files per byte on disk", total(broker, "pwrite", "pwritev").bytes / on_disk(system), 1.02)
        at_most("batches per MB of CRI text", batches / (w.raw / 1e6), 3.0)
        at_most("requests of the collector per batch", metric(system, "collector", "requests_total") / batches, 1.3)
        at_most("blocks per 1,000 lines", blocks / LINES * 1e3, 3.0)
        at_most("blocks decoded by the broker", broker["decompress"].calls, 0)
        at_most("blocks encoded by the broker", broker["compress"].calls, 0)
        at_most("encodings of a block by the collector", collector["compress"].calls / blocks, 1.05)
        at_most("bytes read by the collector per byte of CRI text", collector["pread"].bytes / w.raw, 1.1)

        # Once more the same lines, now that nothing is new to anyone.
        before, batches = {name: calls.now() for name, calls in w.calls.items()}, metric(system, "broker", "ingest_batches_total")
        for path in glob.glob(w.folder + "/logs/*/main.log"):
            with open(path, "rb") as f:
                data = f.read()
            with open(path, "ab") as f:
                f.write(data)
        looks = Looks(lambda: metric(system, "broker", "ingest_lines_total") >= 2 * LINES)
        until(looks, 60, "all lines durable")
        batches = metric(system, "broker", "ingest_batches_total") - batches
        broker, collector = (w.calls[name].since(before[name]) for name in ("broker", "collector"))
        # A request of a megabyte passes a socket in a few pieces. What was asked of /metrics here is not a batch's.
        at_most("reads and writes of links by the broker per batch", (total(broker, "readv", "sendmsg").calls - 8 * looks.count) / batches, 12)
        at_most("reads and writes of links by the collector per batch", total(collector, "readv", "sendmsg").calls / batches, 12)
        # Some tens a batch, most of them nng's; none is a line's, and none a block's in the collector.
        at_most("allocations of the broker per line", total(broker, *ALLOCATIONS).calls / LINES, 0.03)
        at_most("allocations of the collector per line", total(collector, *ALLOCATIONS).calls / LINES, 0.01)
        at_most("reads of files by the collector per MB of CRI text", collector["pread"].calls / (w.raw / 1e6), 60)

        system.start("gateway")
        system.ready()
        before = w.calls["broker"].now()
        lines = 0
        for i in range(200):
            lines += len(system.text(f"box-{i % SANDBOXES:04}", tail=500).splitlines())
        spent = w.calls["broker"].since(before)
        assert lines == 200 * 500, lines
        # 0.014, beside much other work 0.036; 20 a record would be 0.04 more.
        at_most("allocations of the broker per line read", total(spent, *ALLOCATIONS).calls / lines, 0.045)
        at_most("blocks decoded by the broker for readers", spent["decompress"].calls, 0)

        status, _, _ = system.request("POST", "/compact", port=system.broker_port, timeout=240)
        assert status == 200, status
        at_most("bytes on disk after compaction per byte of CRI text", on_disk(system) / w.raw / 2, 0.20)


if __name__ == "__main__":
    main([a_line_costs_what_it_did])
