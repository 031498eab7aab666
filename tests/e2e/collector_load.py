# SPDX-License-Identifier: Apache-2.0
"""Many and noisy: fairness, bounded memory and open files, the inotify queue's overflow, several brokers."""
import json
import os
import signal
import time

from collector_direct import Direct, compare, in_background
from harness import PATIENCE, Source, main, rfc3339, until


def peak_kib(process):
    with open(f"/proc/{process.pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1])


def waits_for_a_cpu(process):
    """Seconds that each of its threads was ready to run and did not."""
    waits = {}
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        try:
            with open(f"/proc/{process.pid}/task/{thread}/schedstat") as f:
                waits[thread] = int(f.read().split()[1]) / 1e9
        except OSError:
            pass
    return waits


class Starved:
    """What of a stretch of time the machine kept from the daemons, whatever they would have done with it."""

    def __init__(self, system):
        self.system = system
        self.before = self.now()

    def now(self):
        return {name: waits_for_a_cpu(p) for name, p in self.system.process.items()}

    def seconds(self):
        """Of the thread that waited longest: others waited at the same time."""
        return max(self.each())

    def in_turn(self):
        """Of what goes through one after the other."""
        return sum(self.each())

    def each(self):
        return [max(s - self.before[name].get(thread, 0) for thread, s in waits.items()) for name, waits in self.now().items()]


def a_noisy_sandbox_delays_nobody():
    """One writes as fast as it can; 999 others write a line now and then, which is visible within 2 s. On a machine with more
    work than cores the daemons' longest wait for a CPU is taken off, as the kernel counts them."""
    with Direct() as s:
        s.start("gateway")
        s.ready()
        noisy = s.logs + "/noisy"
        os.mkdir(noisy)
        text = b"".join(rfc3339(i).encode() + b" stdout F " + os.urandom(40).hex().encode() + b"\n" for i in range(8000))
        stop = []

        def flood():
            with open(noisy + "/main.log", "ab", buffering=0) as f:
                while not stop and f.tell() < 1 << 30:
                    f.write(text)

        def lines_of_quiet():
            page, found = "", {}
            while page is not None:
                status, _, data = s.get("/v1/sandboxes?prefix=quiet&limit=1000" + (f"&page={page}" if page else ""))
                if status == 503:  # its link is being made anew
                    return {}
                body = json.loads(data)
                found.update((box["id"], box["lines"]) for box in body["sandboxes"])
                page = body.get("next_page")
            return found

        def round():
            starved, start = Starved(s), time.monotonic()
            for source in quiet:
                source.write(1)
            want = len(quiet[0].written)
            until(lambda: len(now := lines_of_quiet()) == len(quiet) and min(now.values()) >= want, 20, "the quiet ones' lines")
            took = time.monotonic() - start
            return took, took if took < 2 else took - starved.seconds()

        quiet = [Source(s, f"quiet{i}") for i in range(999)]
        round()  # they are met
        alone = max(round() for _ in range(3))
        writer = in_background(flood)
        try:
            s.has("noisy", 1000)
            worst = max(round() for _ in range(8))
            until(lambda: s.metric("lines_total") > 10000, 10, "there was noise")
            lines, behind = s.metric("lines_total"), s.metric("lag_bytes")
        finally:
            stop.append(True)
            writer.join()
        print(f"   999 lines written and visible within {worst[0] * 1000:.0f} ms, {worst[1] * 1000:.0f} without waits for a CPU ({alone[0] * 1000:.0f} without the noise), beside {lines:.0f} lines and {behind / 1e6:.0f} MB not read yet")
        assert worst[1] < 2 * PATIENCE, (worst, alone)
        for source in quiet[::50]:
            compare(source, s.lines(source.sandbox), source.sandbox)


def memory_stays_bounded_whatever_arrives():
    with Direct(["cri:LOGS/{sandbox}/{container}.log", "plain:LOGS/{sandbox}/console"], ["--memory", "16MiB"]) as s:
        for i in range(60):  # each holds an open line of nearly 1 MiB: four times what is allowed
            os.mkdir(f"{s.logs}/open{i}")
            with open(f"{s.logs}/open{i}/main.log", "wb") as f:
                for k in range(60):
                    f.write(rfc3339(k).encode() + b" stdout P " + b"p" * 16384 + b"\n")
        os.mkdir(s.logs + "/endless")
        with open(s.logs + "/endless/console", "wb") as f:
            for _ in range(64):
                f.write(b"e" * (1 << 20))
        for i in range(60):
            with open(f"{s.logs}/open{i}/exit_code", "w") as f:
                f.write("0")
        with open(f"{s.logs}/endless/exit_code", "w") as f:
            f.write("0")
        for i in range(60):
            s.stopped(f"open{i}")
            assert b"".join(o["line"] for o in s.lines(f"open{i}")) == b"p" * 16384 * 60, i
        s.stopped("endless")
        lines = s.lines("endless")
        assert all(o["partial"] for o in lines) and sum(len(o["line"]) for o in lines) == 64 << 20
        peak = peak_kib(s.process["collector"])
        print(f"   peak {peak // 1024} MiB")
        assert peak < (32 + 16) * 1024 or "SANDLOG_PATIENCE" in os.environ, peak


def few_open_files_are_enough():
    with Direct(collector=["--open-files", "20"]) as s:
        sources = [Source(s, f"box{i}") for i in range(150)]
        for _ in range(3):
            for source in sources:
                source.write(20)
            for source in sources:
                s.has(source.sandbox, len(source.written))
        assert s.metric("open_files") <= 21, s.metric("open_files")
        for source in sources:
            source.rotate(".1")
            source.write(5)
        for source in sources:
            s.has(source.sandbox, 65)
            compare(source, s.lines(source.sandbox), source.sandbox)


def an_overflowing_queue_loses_nothing():
    with Direct() as s:
        collector = s.process["collector"]
        sources = [Source(s, f"box{i}") for i in range(50)]
        for source in sources:
            source.write(1)
        for source in sources:
            s.has(source.sandbox, 1)
        collector.send_signal(signal.SIGSTOP)
        with open("/proc/sys/fs/inotify/max_queued_events") as f:
            limit = int(f.read())
        folder = s.logs + "/box0"
        for i in range(limit // 2 + 100):
            os.mkdir(f"{folder}/{i}")
            os.rmdir(f"{folder}/{i}")
        late = [Source(s, f"late{i}") for i in range(20)]
        for source in sources + late:
            source.write(10)
            source.rotate(".1")
            source.write(10)
        collector.send_signal(signal.SIGCONT)
        for source in sources + late:
            s.has(source.sandbox, len(source.written), 30)
            compare(source, s.lines(source.sandbox), source.sandbox)
        until(lambda: s.metric("watch_overflows_total") >= 1, 5, "the overflow is counted")


def of_several_brokers_any_that_answers_is_used():
    with Direct(start=False) as s:
        s.extra["collector"] = ["--broker", f"ipc://{s.dir}/nobody.sock", "--broker", f"ipc://{s.dir}/ingest.sock"]
        command = s.command
        s.command = lambda name: [a for i, a in enumerate(command(name)) if name != "collector" or i not in (1, 2)]
        s.start("broker")
        s.start("collector")
        s.up()
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        s.restart("broker")
        source.write(100)
        s.has("box", 200)
        compare(source, s.lines("box"), "two brokers")


def a_line_is_there_at_once():
    with Direct() as s:
        source = Source(s, "quick")
        source.write(1)
        s.has("quick", 1)
        times = []
        for n in range(2, 30):
            start = time.monotonic()
            source.write(1)
            s.has("quick", n)
            times.append(time.monotonic() - start)
        times.sort()
        print(f"   visible after {times[len(times) // 2] * 1000:.1f} ms (a process start of the reader included)")


if __name__ == "__main__":
    main([a_noisy_sandbox_delays_nobody, memory_stays_bounded_whatever_arrives, few_open_files_are_enough,
          an_overflowing_queue_loses_nothing, of_several_brokers_any_that_answers_is_used, a_line_is_there_at_once])
