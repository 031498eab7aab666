# SPDX-License-Identifier: Apache-2.0
"""`sandlog export` into files, with the real daemons: sandboxes are written while the exporter, the broker, the gateway and the
collector are killed with -9 at random moments. At the end the files hold every line once: count and checksum of each sandbox are
the source's. `--lines N --sandboxes N` for another size than ctest's."""
import argparse
import collections
import glob
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import threading
import time

from harness import BIN, PATIENCE, System, line_bytes, main, rfc3339, skip, until

SANDLOG = os.path.join(BIN, "sandlog")


class Ledger:
    """Writes `lines` lines of `sandboxes` sandboxes as a container runtime does, some in turn at a time, in `seconds`, some of them long, so that there are many pages; keeps of
    each its count and its checksum: the sum of the first 8 bytes of MD5("seq:text"), so that order counts."""

    def __init__(self, folder, size, seed=7):
        self.folder, self.lines, self.seconds, self.text = folder, size.lines, size.seconds, size.text
        self.count, self.sum = collections.Counter(), collections.Counter()
        self.names = [f"box-{i:04d}" for i in range(size.sandboxes)]
        self.random = random.Random(seed)
        self.thread = threading.Thread(target=self.write, daemon=True)

    def chunk(self, name, n):
        out, now = [], time.time_ns()
        for i in range(n):
            seq = self.count[name] + 1
            text = b"%s %d %s" % (name.encode(), seq, self.random.randbytes(self.random.randrange(self.text)).hex().encode())
            if seq % 97 == 0:
                text += bytes(range(11, 256))  # not UTF-8, control characters, quotes
            out.append(b"%s stdout F %s\n" % (rfc3339(now + i).encode(), text))
            self.count[name] = seq
            self.sum[name] = (self.sum[name] + checksum(seq, text)) % 2**64
        return b"".join(out)

    def write(self):
        begun, written, each = time.monotonic(), 0, max(1, min(500, self.lines // len(self.names) // 4))
        files = {}
        while written < self.lines:
            for name in self.names:
                n = min(each, self.lines - written)
                if n == 0:
                    break
                if name not in files:
                    os.makedirs(f"{self.folder}/{name}", exist_ok=True)
                    files[name] = open(f"{self.folder}/{name}/main.log", "ab", buffering=0)
                    if len(files) > 500:
                        files.pop(next(iter(files))).close()
                files[name].write(self.chunk(name, n))
                written += n
                ahead = begun + self.seconds * written / self.lines - time.monotonic()
                if ahead > 0.005:
                    time.sleep(ahead)
        for f in files.values():
            f.close()

    def source(self):
        return {name: (self.count[name], self.sum[name]) for name in self.names}


def checksum(seq, text):
    return int.from_bytes(hashlib.md5(b"%d:%s" % (seq, text)).digest()[:8], "little")


class Export:
    """The command, started again whenever it has ended."""

    def __init__(self, system, to, *args, consumer="archive"):
        self.system, self.to, self.args, self.consumer = system, to, args, consumer
        self.starts, self.said, self.process = 0, "", None

    def command(self, *more):
        env = {k: v for k, v in os.environ.items() if not k.startswith("SANDLOG_")}
        env["SANDLOG_SERVER"] = f"http://127.0.0.1:{self.system.port}"
        with open(f"{self.system.dir}/export.err", "ab") as err:
            return subprocess.Popen([SANDLOG, "export", self.consumer, "--to", self.to, *self.args, *more], env=env, stdin=subprocess.DEVNULL, stderr=err)

    def run(self):
        if not self.process or self.process.poll() is not None:
            self.process = self.command()
            self.starts += 1

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def hunted(self, seed, longest):
        """Once more from the start, as a consumer of its own, killed again and again, until one gets to the end; how often."""
        r = random.Random(seed)
        for kills in range(10000):
            process = self.command("--once")
            try:
                code = process.wait(timeout=r.random() * longest)
                assert code in (0, 1), (code, self.errors())  # 1: the gateway has not missed the one before yet
                if code == 0:
                    return kills
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            longest *= 1.02  # at last even a slow machine gets there

    def drain(self, seconds):
        """--once, until it ends well: a gateway that was killed may hold the lease for a while."""
        self.kill()
        deadline = time.monotonic() + seconds * PATIENCE
        while (code := self.command("--once").wait(timeout=seconds * PATIENCE)) != 0:
            assert time.monotonic() < deadline, (code, self.errors())

    def errors(self):
        with open(f"{self.system.dir}/export.err", errors="replace") as f:
            return f.read()[-3000:]


def trouble(system, ledger, export, victims, seed, others=None):
    """Writes all, and meanwhile kills what `victims` names at random moments; ends when all is stored."""
    r = random.Random(seed)
    kills, turn = collections.Counter(), []
    ledger.thread.start()
    while ledger.thread.is_alive():
        export.run()
        time.sleep(r.random() * min(1.5, ledger.seconds / 8))
        turn = turn or r.sample(victims, len(victims))  # each in turn
        victim = turn.pop()
        kills[victim] += 1
        if victim == "export":
            export.kill()
        elif others and victim in others:
            others[victim]()
        else:
            system.restart(victim)
    ledger.thread.join()
    system.ready(30)
    stored = lambda: sum(b["lines"] for b in catalog(system))
    until(lambda: (export.run(), stored() == ledger.lines)[1], 120 + ledger.lines / 20000, "all lines stored")
    return kills


def catalog(system):
    out, page = [], ""
    while True:
        try:
            answer = system.json("/v1/sandboxes?limit=1000" + (f"&page={page}" if page else ""))
        except (AssertionError, OSError):
            return out
        out += answer["sandboxes"]
        page = answer.get("next_page")
        if not page:
            return out


def sums(folder):
    """What lies in the folder: of each sandbox the count and the checksum, and the (sandbox, life, seq) that came twice."""
    count, total, seen, twice = collections.Counter(), collections.Counter(), set(), 0
    for path in sorted(glob.glob(folder + "/date=*/hour=*/*")):
        lz4 = subprocess.Popen(["lz4", "-dc", path], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        life = {}
        for line in lz4.stdout:
            o = json.loads(line)
            if o.get("event") == "sandbox":
                life[o["sandbox"]] = o["life"]
            if "line" in o:
                key = (o["sandbox"], life[o["sandbox"]], o["seq"])
                twice += key in seen
                seen.add(key)
                count[o["sandbox"]] += 1
                total[o["sandbox"]] = (total[o["sandbox"]] + checksum(o["seq"], line_bytes(o))) % 2**64
        assert lz4.wait() == 0, path
    return {name: (count[name], total[name]) for name in count}, twice


def compare(source, have):
    wrong = [(name, source.get(name), have.get(name)) for name in sorted(set(source) | set(have)) if source.get(name) != have.get(name)]
    assert not wrong, f"{len(wrong)} sandboxes differ (wrote, exported): {wrong[:5]}"


def arguments(lines, sandboxes, seconds):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=lines)
    parser.add_argument("--sandboxes", type=int, default=sandboxes)
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--text", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(os.environ.get("SANDLOG_SEED", "11")))
    given, rest = parser.parse_known_args()
    sys.argv[1:] = rest
    return given


SIZE = arguments(20000, 20, 3)


def files_hold_every_line_once_whatever_is_killed():
    with System() as system:
        folder = system.dir + "/out"
        ledger = Ledger(system.logs, SIZE)
        export = Export(system, folder, "--batch-bytes", "100KiB" if SIZE.lines < 1000000 else "64MiB", "--batch-age", "300ms" if SIZE.lines < 1000000 else "10s")
        try:
            kills = trouble(system, ledger, export, ["export"] * 4 + ["broker", "gateway", "collector"], SIZE.seed)
            export.drain(60 + SIZE.lines / 20000)
            have, twice = sums(folder)
            assert not glob.glob(folder + "/date=*/hour=*/.*")
            compare(ledger.source(), have)
            assert twice == 0, twice
            print(f"   {SIZE.lines} lines of {SIZE.sandboxes} sandboxes, killed {dict(kills)}, {export.starts} starts, "
                  f"{len(glob.glob(folder + '/date=*/hour=*/*'))} files")
            hunted = Export(system, system.dir + "/hunted", "--batch-bytes", "50KiB" if SIZE.lines < 1000000 else "4MiB", consumer="hunted")
            times = hunted.hunted(SIZE.seed, 0.2 if SIZE.lines < 1000000 else 3)
            have, twice = sums(system.dir + "/hunted")
            compare(ledger.source(), have)
            assert twice == 0 and times > 0, (twice, times)
            print(f"   and killed {times} times on a second way from start to end, {len(glob.glob(system.dir + '/hunted/date=*/hour=*/*'))} files")
        finally:
            export.kill()


if __name__ == "__main__":
    if not shutil.which("lz4"):
        skip("no lz4 on this machine")
    main([files_hold_every_line_once_whatever_is_killed])
