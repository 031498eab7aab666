# SPDX-License-Identifier: Apache-2.0
"""The daemons as chaos has them: the collector in a network namespace of its own, the data directory on a small tmpfs, every clock a
file that can be set; what the machine does not allow (root, libfaketime) is left out and said. Faults are applied here."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from harness import PATIENCE, Redis, System, free_port, until  # noqa: E402

DISK_MIB = 256


def run(*words, check=True):
    return subprocess.run(words, check=check, capture_output=True, text=True)


def faketime_library():
    """libfaketime, None where this machine has none. Its program `faketime` stumbles over what a killed process of the same number left."""
    return next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)


def forget_clock(pid):
    """What libfaketime leaves in shared memory of a process that was killed."""
    for name in (f"faketime_shm_{pid}", f"sem.faketime_sem_{pid}"):
        try:
            os.unlink("/dev/shm/" + name)
        except FileNotFoundError:
            pass


class World(System):
    def __init__(self, redis=False, broker=(), collector=(), gateway=(), isolate=True, clocks=True):
        self.net = self.disk = None
        self.missing = []  # facilities that this machine lacks
        self.clocked = []  # who was started with a clock of its own
        os.environ.pop("SANDLOG_TEST_STORE", None)
        super().__init__(start=False, broker=broker, collector=collector, gateway=gateway)
        self.names = ["broker", "gateway", "collector"]
        self.expected_down = set()   # ended by us
        self.paused = set()
        self.unfit_until = 0         # the broker's store could not begin until then
        self.refused_starts = 0
        self.not_before = {}
        self.silent_until = {}       # name -> bytes of its stderr when it was started
        self.unseen = []             # (from, to, whether it died) of times in which the collector was not looking
        self.away = {}               # what stops lines from being stored -> [from, to) of the times
        try:
            self._clocks(clocks)
            self._network() if isolate else None
            if redis:
                self.redis = Redis("--appendonly", "yes", "--appendfsync", "always")
                self.names.insert(1, "broker2")
                self.second_port = free_port()
            elif isolate:
                self._disk()
            self.watch = [f"cri:{self.logs}/cri/{{sandbox}}/{{container}}.log", f"plain:{self.logs}/plain/{{sandbox}}/{{container}}.log",
                          f"docker:{self.logs}/docker/{{sandbox}}/{{container}}-json.log"]
            for form in ("cri", "plain", "docker"):
                os.mkdir(f"{self.logs}/{form}")
            for name in self.names:
                self.start(name)
            until(lambda: self.probe(self.port) and self.probe(self.broker_port), 20, "ready\n" + self.errors())
        except BaseException:
            self.close()
            raise

    # ---- facilities -----------------------------------------------------------------------------------------------
    def _clocks(self, wanted):
        self.faketime = faketime_library() if wanted else None
        if wanted and not self.faketime:
            self.missing.append("clock steps (no libfaketime)")
        for name in ("broker", "broker2", "gateway", "collector"):
            self.set_clock(name, 0)

    def set_clock(self, name, seconds):
        path = f"{self.dir}/{name}.clock"
        with open(path + ".new", "w") as f:
            f.write(f"{seconds:+d}\n")
        os.rename(path + ".new", path)

    def _network(self):
        tag = f"sc{os.getpid() % 100000}"
        if os.geteuid() != 0 or not shutil.which("ip") or run("ip", "netns", "add", tag, check=False).returncode != 0:
            self.missing.append("cuts (no network namespaces)")
            return
        if run("ip", "-n", tag, "link", "set", "lo", "up", check=False).returncode != 0:
            run("ip", "netns", "del", tag, check=False)
            self.missing.append("cuts (network namespaces can't be entered)")
            return
        self.net, self.subnet = tag, f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}"
        run("ip", "link", "add", tag + "h", "type", "veth", "peer", "name", tag + "n", "netns", tag)
        run("ip", "addr", "add", f"{self.subnet}.1/24", "dev", tag + "h")
        run("ip", "link", "set", tag + "h", "up")
        run("ip", "-n", tag, "addr", "add", f"{self.subnet}.2/24", "dev", tag + "n")
        run("ip", "-n", tag, "link", "set", tag + "n", "up")
        self.ingest_port, self.second_ingest = free_port(), free_port()

    def _disk(self):
        path = f"{self.dir}/disk"
        os.mkdir(path)
        if os.geteuid() != 0 or run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "sandlog-chaos", path, check=False).returncode != 0:
            self.missing.append("full disks (no tmpfs)")
            os.rmdir(path)
            return
        self.disk = path

    # ---- daemons --------------------------------------------------------------------------------------------------
    def command(self, name):
        words = super().command(name if name != "broker2" else "broker")
        ipc = lambda link: f"ipc://{self.dir}/{link}.sock"

        def change(flag, value):
            words[words.index(flag) + 1] = value
        if name in ("broker", "broker2"):
            second = name == "broker2"
            if self.net:
                change("--ingest", f"tcp://{self.subnet}.1:{self.second_ingest if second else self.ingest_port}")
            elif second:
                change("--ingest", ipc("ingest2"))
            if second:
                change("--query", ipc("query2"))
                change("--http", f"127.0.0.1:{self.second_port}")
            if self.disk:
                change("--data", self.disk + "/data")
        if name == "gateway" and "broker2" in self.names:
            words += ["--broker", ipc("query2")]
        if name == "collector":
            if self.net:
                change("--broker", f"tcp://{self.subnet}.1:{self.ingest_port}")
            if "broker2" in self.names:
                words += ["--broker", f"tcp://{self.subnet}.1:{self.second_ingest}" if self.net else ipc("ingest2")]
            if self.net:
                change("--http", f"{self.subnet}.2:{self.collector_port}")
                words = ["ip", "netns", "exec", self.net] + words
        return words

    def start(self, name):
        self.starts += 1
        env = dict(os.environ)
        if self.faketime:
            env.update(LD_PRELOAD=self.faketime, FAKETIME_TIMESTAMP_FILE=f"{self.dir}/{name}.clock", FAKETIME_NO_CACHE="1",
                       FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1")
        with open(f"{self.dir}/{name}.err", "ab") as stderr:
            self.silent_until[name] = stderr.tell()
            self.process[name] = subprocess.Popen(self.command(name), stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=env)
        self.clocked.append(self.process[name].pid)
        self.expected_down.discard(name)
        return self.process[name]

    def refused(self, name, status):
        """A broker that couldn't begin, on a full disk or without its Redis; it did not run."""
        if not name.startswith("broker") or status != 1 or time.monotonic() > self.unfit_until + 10:
            return False
        with open(f"{self.dir}/{name}.err", "rb") as f:
            f.seek(self.silent_until[name])
            return b"event=broker.started" not in f.read()

    def watch_over(self):
        """Nobody ends by itself, but for a broker that is refused: it is started again."""
        for name in self.names:
            p = self.process.get(name)
            if p is None or name in self.expected_down or p.poll() is None:
                continue
            if self.refused(name, p.returncode):
                if time.monotonic() < self.not_before.get(name, 0):
                    continue
                self.not_before[name] = time.monotonic() + 0.5
                self.refused_starts += 1
                self.start(name)
                continue
            with open(f"{self.dir}/{name}.err", errors="replace") as f:
                raise AssertionError(f"{name} ended by itself with {p.returncode}: ...{f.read()[-3000:]}")

    def blind(self, since, until, begun):
        """A file that was there from `since` to `until`, in a folder of `begun`: whether nobody may know of it. It has no name any more, so it
        is held by the collector alone until its first lines could be stored (which takes it up to 5 s from when the way is free: that is
        how long it waits between two tries to connect): it must not have died before. One that stood still has its events waiting, but for
        a folder that it did not watch yet. When it is back it has to list its folders first."""
        for begin, end in sorted(times for all_times in self.away.values() for times in all_times):
            if begin - 1 < until < end + 5 * PATIENCE:
                until = end + 5 * PATIENCE
        return any(begin - 1 < until and since < end + 2 * PATIENCE and (died or begun > begin - PATIENCE) for begin, end, died in self.unseen)

    def troubled(self, since, until):
        """Something on a line's way was away then."""
        return any(begin < until and since < end for all_times in [[u[:2] for u in self.unseen], *self.away.values()] for begin, end in all_times)

    def looks(self, yes, died=False):
        if not yes:
            self.unseen.append((time.monotonic(), float("inf"), died))
        elif self.unseen:
            self.unseen[-1] = (self.unseen[-1][0], time.monotonic(), self.unseen[-1][2])

    def stores(self, what, yes):
        if what in ("redis", "disk"):
            self.unfit_until = time.monotonic() if yes else float("inf")
        times = self.away.setdefault(what, [])
        if what == "gateway":
            return
        if not yes:
            times.append((time.monotonic(), float("inf")))
        elif times:
            times[-1] = (times[-1][0], time.monotonic())

    # ---- faults ---------------------------------------------------------------------------------------------------
    def down(self, name, sig):
        """kill -9 or SIGTERM, which has to end with 0; who has not said a word yet does not take signals yet."""
        self.expected_down.add(name)
        if name == "collector":
            self.looks(False, died=True)
        self.stores(name, False)
        if name == "redis":
            self.redis.kill()
            return
        p = self.process[name]
        p.send_signal(sig)
        status = p.wait(timeout=30)
        unready = status == -signal.SIGTERM and os.path.getsize(f"{self.dir}/{name}.err") == self.silent_until[name]
        unready = unready or self.refused(name, status)
        if sig == signal.SIGTERM and status != 0 and not unready:
            raise AssertionError(f"{name} ended with {status} on SIGTERM\n{self.errors()}")

    def up(self, name):
        if name == "redis":
            self.redis.start()
            self.expected_down.discard(name)
        else:
            self.start(name)
            if name == "collector":
                self.looks(True)
        self.stores(name, True)

    def signal(self, name, sig):
        if name == "collector":
            self.looks(sig == signal.SIGCONT)
        self.stores(name, sig == signal.SIGCONT)
        (self.paused.discard if sig == signal.SIGCONT else self.paused.add)(name)
        p = self.redis.process if name == "redis" else self.process[name]
        if p.poll() is None:
            p.send_signal(sig)

    def cut(self, down):
        run("ip", "link", "set", self.net + "h", "down" if down else "up")
        self.stores("network", not down)

    def fill(self, full):
        """Leaves a few KiB, or nothing."""
        ballast = self.disk + "/ballast"
        self.stores("disk", not full)
        if not full:
            if os.path.exists(ballast):
                os.unlink(ballast)
            return
        with open(ballast, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(1 << 20))
            except OSError:
                pass
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass

    def close(self):
        for name, p in self.process.items():
            if p.poll() is None:
                p.send_signal(signal.SIGCONT)
        if self.redis and self.redis.process:
            self.redis.process.send_signal(signal.SIGCONT)
        super_dir = self.dir
        for name in list(self.process):
            p = self.process.pop(name)
            p.kill()
            p.wait()
        for pid in self.clocked:
            forget_clock(pid)
        if self.disk:
            run("umount", "-l", self.disk, check=False)
        if self.net:
            run("ip", "link", "del", self.net + "h", check=False)
            run("ip", "netns", "del", self.net, check=False)
        super().close()
        assert not os.path.ismount(super_dir + "/disk")
