# SPDX-License-Identifier: Apache-2.0
"""Very many sandboxes on one machine, one in a hundred active: what the collector takes for them, and how long a line takes.
`collector_many.py 100000` is the size of TARGETS; without a number it is a smaller one."""
import os
import sys
import time

from collector_direct import Direct, compare
from collector_load import Starved
from harness import PATIENCE, Source, main, rfc3339, until

COUNT = int(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 4000
WINDOW = 10 if COUNT > 10000 else 4  # seconds with one in a hundred active
TICK = os.sysconf("SC_CLK_TCK")


def cpu(process):
    with open(f"/proc/{process.pid}/stat") as f:
        fields = f.read().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def rss_kib(process):
    with open(f"/proc/{process.pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def many_sandboxes():
    line = (rfc3339(time.time_ns()) + " stdout F the one line it has\n").encode()
    with Direct(["cri:LOGS/many/{sandbox}/{container}.log", "cri:LOGS/few/{sandbox}/{container}.log"], start=False) as s:
        for i in range(COUNT):
            folder = f"{s.logs}/many/box{i}"
            os.makedirs(folder)
            with open(folder + "/main.log", "wb") as f:
                f.write(line)
        s.start("broker")
        start = time.monotonic()
        s.start("collector")
        s.up()
        # while the large folder is met for the first time, another sandbox's lines do not wait for it
        few = Source(s, "few", path=f"{s.logs}/few/few/main.log")
        few.write(1)
        s.has("few", 1, 5)
        seen = time.monotonic() - start
        worst = 0
        while s.metric("sandboxes ") < COUNT + 1:
            at, starved = time.monotonic(), Starved(s)
            few.write(1)
            s.has("few", len(few.written), 20)
            worst = max(worst, time.monotonic() - at - starved.seconds())
            assert time.monotonic() - start < 240 * PATIENCE
        known = time.monotonic() - start
        until(lambda: s.metric("lines_total") >= COUNT and s.metric("lag_bytes") == 0, 120, "all read")
        read = time.monotonic() - start
        active = [Source(s, f"box{i}", path=f"{s.logs}/many/box{i}/main.log") for i in range(0, COUNT, 100)]
        collector, slow = s.process["collector"], 0
        before, at, swept = cpu(collector), time.monotonic(), s.metric("swept_folders_total")
        while time.monotonic() - at < WINDOW:
            for source in active[:: max(1, len(active) // 50)]:
                source.write(1)
            probe = active[0]
            shown, starved = time.monotonic(), Starved(s)
            s.has(probe.sandbox, 1 + len(probe.written), 5)
            slow = max(slow, time.monotonic() - shown - starved.seconds())
            time.sleep(0.1)
        took, swept = cpu(collector) - before, s.metric("swept_folders_total") - swept
        memory = rss_kib(collector)
        print(f"   {COUNT} sandboxes: first other line after {seen:.2f} s, worst {worst * 1000:.0f} ms meanwhile; all known after {known:.1f} s, "
              f"read after {read:.1f} s; then in {WINDOW} s {took:.2f} CPU-s with {swept:.0f} folders swept, new line within {slow * 1000:.0f} ms, "
              f"{memory // 1024} MiB, {s.metric('open_files'):.0f} files open")
        assert worst < 2 * PATIENCE and slow < 2 * PATIENCE, (worst, slow)  # but for the daemons' waits for a CPU
        assert memory < 32 * 1024 + 2 * COUNT or "SANDLOG_PATIENCE" in os.environ, memory
        assert took < (0.5 + 1.0) * max(COUNT, 20000) / 100000 + WINDOW / 10 or PATIENCE > 1, took
        compare(few, s.lines("few"), "the other one")


if __name__ == "__main__":
    main([many_sandboxes])
