# SPDX-License-Identifier: Apache-2.0
"""Many and noisy: fairness, bounded memory and open files, the inotify queue's overflow, several brokers."""
import os
import signal
import time

from collector_direct import Direct, compare, in_background
from harness import PATIENCE, Source, main, rfc3339, until


def peak_kib(process):
    with open(f"/proc/{process.pid}/status") as f:
        return int(next(line for line in f if line.startswith("VmHWM")).split()[1])


def a_noisy_sandbox_delays_nobody():
    with Direct() as s:
        noisy = s.logs + "/noisy"
        os.mkdir(noisy)
        text = b"".join(rfc3339(i).encode() + b" stdout F " + os.urandom(40).hex().encode() + b"\n" for i in range(8000))
        stop = []

        def flood():
            with open(noisy + "/main.log", "ab", buffering=0) as f:
                while not stop:
                    f.write(text)
                    if f.tell() > 300 << 20:
                        return
        quiet = [Source(s, f"quiet{i}") for i in range(20)]
        writer = in_background(flood)
        try:
            s.has("noisy", 1000)
            worst = 0
            for _ in range(8):
                for source in quiet:
                    source.write(1)
                start = time.monotonic()
                for source in quiet:
                    s.has(source.sandbox, len(source.written), 5)
                worst = max(worst, time.monotonic() - start)
            assert worst < 2 * PATIENCE, worst
            print(f"   20 quiet sandboxes visible within {worst * 1000:.0f} ms beside {s.count('noisy')} noisy lines")
        finally:
            stop.append(True)
            writer.join()
        for source in quiet:
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
