# SPDX-License-Identifier: Apache-2.0
"""What broker and gateway keep in memory of many sandboxes' newest lines stays under their --memory, however much came, and all they have
under a limit of the kernel's, where this machine lets one be set."""
import glob
import os
import selectors
import socket
import threading
import time

from collector_load import peak_kib
from collector_memory import Limited
from harness import PATIENCE, System, main, rfc3339, until

SANDBOXES, EACH_KIB = 200, 200
BROKER_MIB, GATEWAY_MIB = 8, 4
KERNEL_MIB = {"broker": 44, "gateway": 44}  # little more than what comes, of which neither may keep all


def anonymous_mib(process):
    """Without what the kernel keeps of files."""
    with open(f"/proc/{process.pid}/status") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("RssAnon")) / 1024


class Followers:
    """One follower of each sandbox, all read by one thread; bytes that each was given."""

    def __init__(self, s, names):
        self.given, self.stopped, self.poller = dict.fromkeys(names, 0), False, selectors.DefaultSelector()
        for name in names:
            c = socket.create_connection(("127.0.0.1", s.port), timeout=30 * PATIENCE)
            c.sendall(f"GET {s.url(name, follow=1, format='text')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            self.poller.register(c, selectors.EVENT_READ, name)
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            for key, _ in self.poller.select(0.2):
                self.given[key.data] += len(key.fileobj.recv(1 << 18))


def daemons_run_few_threads_whatever_the_machine():
    with System() as s:
        for name in ("broker", "gateway", "collector"):
            threads = []
            for path in glob.glob(f"/proc/{s.process[name].pid}/task/*/comm"):
                with open(path) as f:
                    threads.append(f.read().strip())
            assert threads.count("nng:task") == 2, f"{name}: {sorted(threads)}"


def the_newest_lines_of_many_sandboxes_stay_under_the_limit():
    with System(broker=("--memory", f"{BROKER_MIB}MiB"), gateway=("--memory", f"{GATEWAY_MIB}MiB")) as s:
        names = [f"box{i}" for i in range(SANDBOXES)]
        groups = {name: Limited(s.process[name], mib << 20) for name, mib in KERNEL_MIB.items()} if PATIENCE == 1 else {}
        for name in names:
            s.put(name, state="running")
            os.mkdir(f"{s.logs}/{name}")
        followers = Followers(s, names)
        line = lambda: rfc3339(time.time_ns()).encode() + b" stdout F " + os.urandom(500).hex().encode() + b"\n"
        files = [open(f"{s.logs}/{name}/main.log", "ab", buffering=0) for name in names]
        for f in files:
            f.write(line())
        until(lambda: all(followers.given.values()), 30, "all follow")
        before = {name: anonymous_mib(s.process[name]) for name in ("broker", "gateway")}
        for step in range(1, EACH_KIB // 10 + 1):  # in small blocks
            for f in files:
                f.write(b"".join(line() for _ in range(10)))
            if step % 10 == 0:
                until(lambda: min(followers.given.values()) > step * 10000, 60, f"all have the first {step * 10} KiB")
        grown = {name: anonymous_mib(s.process[name]) - was for name, was in before.items()}
        print(f"   {SANDBOXES * EACH_KIB / 1024:.0f} MiB came; broker +{grown['broker']:.1f} MiB, gateway +{grown['gateway']:.1f} MiB")
        followers.stopped = True
        followers.thread.join()
        # the broker keeps 64 KiB of each running one at least; a reader costs what it has to send
        assert PATIENCE > 1 or grown["broker"] < BROKER_MIB + SANDBOXES * 64 / 1024 + 8, grown
        assert PATIENCE > 1 or grown["gateway"] < GATEWAY_MIB + SANDBOXES * 96 / 1024 + 8, grown
        for name, group in groups.items():
            print(f"   {name}: peak {peak_kib(s.process[name]) / 1024:.0f} MiB" + (f", under {KERNEL_MIB[name]} of the kernel's" if group.folder else "; no cgroup here"))
            assert s.process[name].poll() is None
            s.kill(name)
            group.close()


if __name__ == "__main__":
    main([daemons_run_few_threads_whatever_the_machine, the_newest_lines_of_many_sandboxes_stay_under_the_limit])
