# SPDX-License-Identifier: Apache-2.0
"""Rotations without number, of every kind, while the collector runs and while it is killed: what was written is what is
stored and the gaps. `collector_churn.py 1000` does a thousand of each kind; without a number it is a smaller count."""
import os
import random
import shutil
import sys
import threading
import time

from collector_direct import Direct, compare, in_background
from collector_rotation import Rotating
from harness import main, until

COUNT = int(sys.argv.pop(1)) if __name__ == "__main__" and len(sys.argv) > 1 and sys.argv[1].isdigit() else 80
KINDS = ("rename", "numbered", "gz", "kubelet", "copytruncate")
KEPT = max(100, COUNT)  # more than are turned over while the collector is dead and comes up, on a busy machine
REPLACED = 20  # sandboxes that are replaced in place: each may be only every 200 ms, when it was met


def account(source, objects, what):
    """Every line once and in order; where lines are missing, and nowhere else, there is a gap."""
    lines = [o for o in objects if "seq" in o]
    behind = {o["next"] for o in objects if o.get("event") == "gap"}
    number = {text: i for i, (_, _, text) in enumerate(source.written)}
    assert [o["seq"] for o in lines] == list(range(1, len(lines) + 1)), f"{what}: seq not contiguous"
    expected, missing, used = 0, 0, set()
    for o in lines + [None]:
        n = number[o["line"]] if o else len(source.written)
        assert n >= expected, f"{what}: line {n} comes after {expected - 1}"
        if n > expected:
            place = o["seq"] if o else len(lines) + 1
            # nobody knows of files that were replaced before the broker had a line of the sandbox
            assert place in behind or expected == 0, f"{what}: lines {expected} to {n - 1} are missing before seq {place} without a gap; gaps at {sorted(behind)}"
            missing += n - expected
            used.add(place)
        expected = n + 1
    return missing, len(behind - used)


def churn(killed):
    with Direct() as s:
        dice = random.Random(killed)
        sources = [Rotating(s, kind, kind=kind, keep=KEPT) for kind in KINDS]
        up = None if killed else s.process["collector"]
        replaced = [Rotating(s, f"replace{i}", kind="replace", up=up) for i in range(REPLACED)]
        stop = []

        def kill():
            while not stop:
                time.sleep(0.3 + dice.random())
                s.restart("collector")
        killer = in_background(kill) if killed else None
        start = time.monotonic()
        try:
            while min(x.turn for x in sources) < COUNT or sum(x.turn for x in replaced) < COUNT:
                for source in sources + replaced:
                    source.write(dice.randint(1, 5))
                    if source.kind == "replace" or source.turn < COUNT:
                        source.rotate_once()
                time.sleep(0.03)
        finally:
            stop.append(True)
            if killer:
                killer.join()
        for source in sources + replaced:
            source.write(1)
            source.exit(0)
        for source in sources + replaced:
            s.stopped(source.sandbox, 60)
        turned = time.monotonic() - start
        with open(f"/proc/{s.process['collector'].pid}/stat") as f:
            busy = sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[11:13]) / os.sysconf("SC_CLK_TCK")
        rotations = sum(x.turn for x in sources + replaced)
        lost = 0
        for source in sources + replaced:
            what = f"{source.kind}, {source.turn} rotations" + (", killed" if killed else "")
            if killed and source.kind == "replace":  # what was replaced while nobody looked is gone
                lost += account(source, s.dump(source.sandbox), what)[0]
            else:
                compare(source, s.lines(source.sandbox), what)
                assert not s.gaps(source.sandbox), (what, s.gaps(source.sandbox))
        cost = "" if killed else f"{1000 * busy / rotations:.1f} ms of the collector's CPU each, "
        print(f"   {COUNT} rotations of {KINDS}, {sum(x.turn for x in replaced)} in place, {turned:.0f} s, {s.starts - 2} kills, {cost}"
              f"{lost} lines of those replaced while the collector was dead are gaps")


def rotations_without_number():
    churn(False)


def rotations_without_number_while_the_collector_is_killed():
    churn(True)


def an_inode_used_again_is_another_file(folder=None):
    """Made and deleted over and over: ext4 gives the same inode at once, tmpfs a new one or not."""
    with Direct([f"plain:{folder or 'LOGS'}/{{sandbox}}/x.log", "cri:LOGS/{sandbox}/{container}.log"]) as s:
        base = folder or s.logs
        os.makedirs(base + "/box", exist_ok=True)
        path, inodes, turns = base + "/box/x.log", [], COUNT
        written = 0
        for n in range(turns):
            with open(path, "wb", buffering=0) as f:
                inodes.append(os.fstat(f.fileno()).st_ino)
                # alike at the beginning, so that first bytes alone tell nothing; the longer one second, and the other way round
                lines = 1 + (n * 7) % 5
                for i in range(lines):
                    f.write(b"the same beginning in every one of these files, as programs have it\n" if i == 0 else f"{n}/{i}\n".encode())
            written += lines
            # it is read while it is open; then it is gone and the next has its inode
            until(lambda: s.count("box") >= written, 20, f"{written} lines stored, {s.count('box')}\n{s.errors()}")
            os.unlink(path)
            if n % 40 == 20:
                # a file that vanished while nobody looked may have held more: that is a gap. So it is seen off first
                s.stopped("box")
                s.restart("collector")
                s.up()
        until(lambda: s.count("box") == written, 20, f"{written} lines, now {s.count('box')}\n{s.errors()}")
        got, want = [o["line"] for o in s.lines("box")], []
        for n in range(turns):
            for i in range(1 + (n * 7) % 5):
                want.append(b"the same beginning in every one of these files, as programs have it" if i == 0 else f"{n}/{i}".encode())
        assert got == want, next((i, a, b) for i, (a, b) in enumerate(zip(got, want)) if a != b)
        assert not s.gaps("box"), s.gaps("box")
        return turns, len(set(inodes))


def inodes_used_again_are_other_files():
    print("   temporary folder: %d files, %d inodes" % an_inode_used_again_is_another_file())
    if os.path.isdir("/dev/shm") and os.access("/dev/shm", os.W_OK):
        folder = f"/dev/shm/collector-churn-{os.getpid()}"
        try:
            print("   tmpfs: %d files, %d inodes" % an_inode_used_again_is_another_file(folder))
        finally:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main([rotations_without_number, rotations_without_number_while_the_collector_is_killed, inodes_used_again_are_other_files])
