# SPDX-License-Identifier: Apache-2.0
"""The daemons as chaos has them: each, Redis too, in a network namespace of its own, tied to those it speaks with by one link each; the data
directory (or Redis') on a tmpfs, every clock a file that can be set; what the machine does not allow (root, libfaketime) is left out and said.
Faults are applied here."""
import glob
import os
import shutil
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../e2e"))
from harness import PATIENCE, Redis, System, free_port, until  # noqa: E402

DISK_MIB = 1024
LEFT_KIB = 12  # on a disk that is filled
LINKS = (("broker", "collector"), ("broker", "gateway"), ("broker", "redis"), ("host", "broker"), ("host", "gateway"), ("host", "redis"))


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
        self.net, self.disk, self.full, self.full_until = {}, None, False, 0
        self.links = {}    # (one end, the other) -> the addresses of both
        self.cuts = set()  # who is cut off now
        self.missing = []  # facilities that this machine lacks
        self.clocked = []  # who was started with a clock of its own
        os.environ.pop("SANDLOG_TEST_STORE", None)
        super().__init__(start=False, broker=broker, collector=collector, gateway=gateway)
        self.names = ["broker", "broker2", "gateway", "collector"] if redis else ["broker", "gateway", "collector"]
        self.query_port, self.ingest_port = ({name: free_port() for name in ("broker", "broker2")} for _ in range(2))
        self.second_port = free_port()
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
            if isolate:
                self._network(self.names + ["redis"] * redis)
                self._disk()
            self.host = self.address("host", "gateway")
            if redis:
                self._redis()
            self.watch = [f"cri:{self.logs}/cri/{{sandbox}}/{{container}}.log", f"plain:{self.logs}/plain/{{sandbox}}/{{container}}.log",
                          f"docker:{self.logs}/docker/{{sandbox}}/{{container}}-json.log"]
            for form in ("cri", "plain", "docker"):
                os.mkdir(f"{self.logs}/{form}")
            for name in self.names:
                self.start(name)
            until(lambda: self.probe(self.port, host=self.host) and self.probe(self.broker_port, host=self.address("host", "broker")), 20,
                  lambda: "ready\n" + self.errors())
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

    def clock_of(self, name):
        """The environment of a process with its clock."""
        env = dict(os.environ)
        if self.faketime:
            env.update(LD_PRELOAD=self.faketime, FAKETIME_TIMESTAMP_FILE=f"{self.dir}/{name}.clock", FAKETIME_NO_CACHE="1",
                       FAKETIME_DONT_FAKE_MONOTONIC="1", DONT_FAKE_MONOTONIC="1")
        return env

    def _network(self, names):
        tag = f"sc{os.getpid() % 100000}"
        if os.geteuid() != 0 or not shutil.which("ip") or run("ip", "netns", "add", tag + names[0], check=False).returncode != 0:
            self.missing.append("cuts (no network namespaces)")
            return
        self.net = {names[0]: tag + names[0]}
        if run("ip", "-n", tag + names[0], "link", "set", "lo", "up", check=False).returncode != 0:
            run("ip", "netns", "del", tag + names[0], check=False)
            self.net = {}
            self.missing.append("cuts (network namespaces can't be entered)")
            return
        for name in names[1:]:
            run("ip", "netns", "add", tag + name)
            self.net[name] = tag + name
            run("ip", "-n", tag + name, "link", "set", "lo", "up")
        pairs = list(LINKS) + [tuple("broker2" if end == "broker" else end for end in pair) for pair in LINKS if "broker" in pair]
        for i, (a, b) in enumerate(pair for pair in pairs if all(end == "host" or end in names for end in pair)):
            ours, theirs = [[] if end == "host" else ["-n", self.net[end]] for end in (a, b)]
            device = f"{tag}-{i}" if a == "host" else f"to-{b}"
            self.links[a, b] = [f"10.{os.getpid() % 200 + 20}.{os.getpid() // 200 % 250}.{4 * i + end}" for end in (1, 2)]
            run("ip", *ours, "link", "add", device, "type", "veth", "peer", "name", f"to-{a}", "netns", self.net[b])
            for where, name, address in ((ours, device, self.links[a, b][0]), (theirs, f"to-{a}", self.links[a, b][1])):
                run("ip", *where, "addr", "add", address + "/30", "dev", name)
                run("ip", *where, "link", "set", name, "up")

    def address(self, of, to):
        """Where `to` is for `of`."""
        if not self.net:
            return "127.0.0.1"
        return self.links[of, to][1] if (of, to) in self.links else self.links[to, of][0]

    def _disk(self):
        path = f"{self.dir}/disk"
        os.mkdir(path)
        if os.geteuid() != 0 or run("mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "sandlog-chaos", path, check=False).returncode != 0:
            self.missing.append("full disks (no tmpfs)")
            os.rmdir(path)
            return
        self.disk = path

    def _redis(self):
        """One that forgets nothing when it is killed, and has the machine's clock: libfaketime and its allocator do not go together."""
        options = ["--appendonly", "yes", "--appendfsync", "always"]
        where = {}
        if self.net:
            options += ["--bind", "0.0.0.0", "--protected-mode", "no"]
            where = {"host": self.address("host", "redis"), "before": ["ip", "netns", "exec", self.net["redis"]]}
        self.redis = Redis(*options, folder=self.disk, **where)

    # ---- daemons --------------------------------------------------------------------------------------------------
    def command(self, name):
        """As it is started: over its links, or, where there are none, over sockets in the folder."""
        words = super().command("broker" if name == "broker2" else name)
        brokers = [n for n in self.names if n.startswith("broker")]

        def change(flag, *values):
            at = words.index(flag)
            words[at:at + 2] = [w for value in values for w in (flag, value)]

        def listens(ports, link):
            return f"tcp://0.0.0.0:{ports[name]}" if self.net else f"ipc://{self.dir}/{link}{name[6:]}.sock"

        def asks(ports, link):
            return [f"tcp://{self.address(name, b)}:{ports[b]}" if self.net else f"ipc://{self.dir}/{link}{b[6:]}.sock" for b in brokers]
        if name in brokers:
            change("--ingest", listens(self.ingest_port, "ingest"))
            change("--query", listens(self.query_port, "query"))
            change("--http", f"{self.address('host', name)}:{self.broker_port if name == 'broker' else self.second_port}")
            if self.redis:
                change("--store", f"redis://{self.address(name, 'redis')}:{self.redis.port}")
            elif self.disk:
                change("--data", self.disk + "/data")
        elif name == "gateway":
            change("--listen", f"{self.host}:{self.port}")
            change("--broker", *asks(self.query_port, "query"))
            words += ["--insecure-no-auth"] if self.net else []
        else:
            change("--broker", *asks(self.ingest_port, "ingest"))
        return (["ip", "netns", "exec", self.net[name]] if self.net else []) + words

    def start(self, name):
        self.starts += 1
        with open(f"{self.dir}/{name}.err", "ab") as stderr:
            self.silent_until[name] = stderr.tell()
            self.process[name] = subprocess.Popen(self.command(name), stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, env=self.clock_of(name))
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
        """Nobody ends by itself, but for a broker that is refused, and Redis when it can't write its log: they are started again."""
        if self.redis and not self.full and "redis" not in self.expected_down and self.redis.process.poll() is not None:
            if time.monotonic() > self.unfit_until + 10 * PATIENCE:
                raise AssertionError(f"redis ended by itself with {self.redis.process.returncode}")
            self.redis.start()
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

    def stores(self, name, yes, what=None):
        what = what or name
        if name in ("redis", "disk") or (name.startswith("broker") and what != name):
            self.unfit_until = time.monotonic() if yes else float("inf")
        times = self.away.setdefault(what, [])
        if name == "gateway":
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

    def cut(self, name, down):
        """All that it speaks with others over, but for the links that only this test uses."""
        (self.cuts.add if down else self.cuts.discard)(name)
        self.stores(name, not down, what=name + "'s network")
        for a, b in self.links:
            if name not in (a, b) or (a == "host" and b != "gateway"):
                continue
            # The other end hears nothing of it. Never the host's, which has other ways to go then.
            inside, device = (b, "to-host") if a == "host" else (a, "to-" + b)
            run("ip", "-n", self.net[inside], "link", "set", device, "down" if self.cuts & {a, b} else "up")

    def fill(self, full):
        """Leaves a few KiB, or nothing: what is there is all there may be."""
        self.full, self.full_until = full, time.monotonic()
        self.stores("disk", not full)
        kib = DISK_MIB * 1024
        while True:
            if full:
                s = os.statvfs(self.disk)
                kib = (s.f_blocks - s.f_bfree) * s.f_frsize // 1024 + LEFT_KIB
            if run("mount", "-o", f"remount,size={kib}k", self.disk, check=not full).returncode == 0:
                break  # else it has grown meanwhile

    def close(self):
        for name in list(self.process):
            p = self.process.pop(name)
            p.kill()
            p.wait()
        if self.redis:
            self.redis.close()
            self.redis = None
        for pid in self.clocked:
            forget_clock(pid)
        if self.disk:
            if os.environ.get("SANDLOG_KEEP"):
                shutil.copytree(self.disk, self.dir + "/kept")
            run("umount", "-l", self.disk, check=False)
        for namespace in self.net.values():
            run("ip", "netns", "del", namespace, check=False)
        super_dir = self.dir
        super().close()
        assert not os.path.ismount(super_dir + "/disk")
