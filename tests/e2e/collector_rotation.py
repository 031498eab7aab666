# SPDX-License-Identifier: Apache-2.0
"""Rotation is invisible: every kind of it, with the collector up, killed, and down for a while."""
import gzip
import os
import random
import shutil
import signal
import time

from collector_direct import Direct, compare, in_background, write_steadily
from harness import Source, main, until


class Rotating(Source):
    """A Source that rotates as different runtimes do."""

    def __init__(self, *arguments, kind, keep=100, up=None, **more):
        super().__init__(*arguments, **more)
        self.kind, self.keep, self.turn = kind, keep, 0
        self.up = up  # the process of a collector that is not killed
        self.replaced = 0
        self.newest = None

    def reopen(self):
        self.file.close()
        self.file = open(self.path, "ab", buffering=0)

    def shift(self, compress=False):
        """.1 -> .2 -> ... ; the oldest goes."""
        for n in range(self.keep, 0, -1):
            for ending in ("", ".gz"):
                old = f"{self.path}.{n}{ending}"
                if os.path.exists(old):
                    if n == self.keep:
                        os.unlink(old)
                    else:
                        os.rename(old, f"{self.path}.{n + 1}{ending}")
        if compress and os.path.exists(self.path + ".2"):
            self.compress(self.path + ".2")

    def compress(self, path):
        with open(path, "rb") as plain, gzip.open(path + ".gz", "wb") as packed:
            shutil.copyfileobj(plain, packed)
        os.unlink(path)

    def is_held(self):
        """The collector has it open. On a busy machine that may take a while."""
        mine = os.fstat(self.file.fileno())
        for fd in os.listdir(f"/proc/{self.up.pid}/fd"):
            try:
                if os.path.samestat(os.stat(f"/proc/{self.up.pid}/fd/{fd}"), mine):
                    return True
            except OSError:
                pass  # closed by now
        return False

    def rotate_once(self):
        if self.kind == "replace":
            # what is replaced is gone, and is not missed only when it was met
            if time.monotonic() - self.replaced < 0.2 or (self.up and not self.is_held()):
                return
            self.replaced = time.monotonic()
        self.turn += 1
        if self.kind == "rename":  # kubelet, containerd
            os.rename(self.path, f"{self.path}.20261120-{self.turn:06d}")
            self.reopen()
        elif self.kind == "numbered":
            self.shift()
            os.rename(self.path, self.path + ".1")
            self.reopen()
        elif self.kind == "gz":  # dockerd with compress=true
            self.shift(compress=True)
            os.rename(self.path, self.path + ".1")
            self.reopen()
        elif self.kind == "kubelet":  # all but the newest rotated file are packed aside and renamed
            rotated = f"{self.path}.20261120-{self.turn:06d}"
            os.rename(self.path, rotated)
            self.reopen()
            if self.newest:
                with open(self.newest, "rb") as plain, gzip.open(self.newest + ".tmp", "wb") as packed:
                    shutil.copyfileobj(plain, packed)
                os.rename(self.newest + ".tmp", self.newest + ".gz")
                os.unlink(self.newest)
            self.newest = rotated
        elif self.kind == "replace":  # conmon: a new file takes the place of the old one, which is gone
            new = open(self.path + ".new", "ab", buffering=0)
            os.rename(self.path + ".new", self.path)
            self.file.close()
            self.file = new
        elif self.kind == "copytruncate":
            self.shift()
            shutil.copyfile(self.path, self.path + ".1")
            os.truncate(self.path, 0)
        elif self.kind == "copytruncate-gz":  # logrotate with copytruncate and compress: the .gz is a copy of the copy
            self.shift()
            shutil.copyfile(self.path, self.path + ".1")
            os.truncate(self.path, 0)
            self.compress(self.path + ".1")


KINDS = ("rename", "numbered", "gz", "kubelet", "replace", "copytruncate", "copytruncate-gz")


def rotated_while_up(form, kinds=KINDS, every=0.02, seconds=3):
    with Direct([f"{form}:LOGS/{{sandbox}}/{{container}}.log"]) as s:
        dice = random.Random(form)
        sources = [Rotating(s, kind, form=form, kind=kind, up=s.process["collector"]) for kind in kinds]
        write_steadily(sources, 2000, seconds, lambda x: dice.random() < 0.005 / every and x.rotate_once())
        for source in sources:
            source.exit(0)
        for source in sources:
            s.stopped(source.sandbox)
            compare(source, s.lines(source.sandbox), f"{form}, {source.kind}, {source.turn} rotations")
            assert not s.gaps(source.sandbox), (source.kind, s.gaps(source.sandbox))
        print(f"   {form}: {[(x.kind, x.turn) for x in sources]}, {len(sources[0].written)} lines each")


def cri_files_rotate_in_every_way():
    rotated_while_up("cri")


def docker_files_rotate_in_every_way():
    rotated_while_up("docker")


def plain_files_rotate_in_every_way():
    rotated_while_up("plain")


def rotated_while_the_collector_is_killed():
    kinds = ("rename", "numbered", "gz", "copytruncate")
    with Direct() as s:
        dice = random.Random(7)
        sources = [Rotating(s, kind, kind=kind) for kind in kinds]
        writer = in_background(write_steadily, sources, 1500, 5,
                               lambda x: dice.random() < 0.03 and x.rotate_once())
        while writer.is_alive():
            time.sleep(dice.random() * 0.7)
            s.restart("collector")
        for source in sources:
            source.exit(0)
        for source in sources:
            s.stopped(source.sandbox)
            compare(source, s.lines(source.sandbox), f"{source.kind}, {source.turn} rotations")
            assert not s.gaps(source.sandbox), source.kind
        print(f"   {[(x.kind, x.turn) for x in sources]}, {len(sources[0].written)} lines each")


def rotated_while_the_collector_is_down():
    with Direct() as s:
        sources = [Rotating(s, kind, kind=kind) for kind in ("rename", "numbered", "gz", "copytruncate")]
        for source in sources:
            source.write(500)
        for source in sources:
            s.has(source.sandbox, 500)
        for _ in range(3):
            s.kill("collector")
            for source in sources:
                for _ in range(4):
                    source.write(300)
                    source.rotate_once()
                    source.write(100)
            s.start("collector")
            s.up()
            for source in sources:
                s.has(source.sandbox, len(source.written))
        for source in sources:
            compare(source, s.lines(source.sandbox), source.kind)
            assert not s.gaps(source.sandbox), source.kind


def what_was_replaced_while_the_collector_was_down_is_a_gap():
    with Direct() as s:
        source = Rotating(s, "lossy", kind="replace")
        source.write(100)
        s.has("lossy", 100)
        s.kill("collector")
        source.write(50)
        source.rotate_once()
        lost = source.written[100:]
        del source.written[100:]
        source.write(100)
        s.start("collector")
        s.has("lossy", 200)
        compare(source, s.lines("lossy"), "replaced while down")
        gaps = s.gaps("lossy")
        assert [(g["reason"], g["next"]) for g in gaps] == [("source-vanished", 101)], gaps
        assert len(lost) == 50


def what_was_truncated_while_the_collector_was_down_is_a_gap():
    with Direct() as s:
        source = Source(s, "cut")
        source.write(100)
        s.has("cut", 100)
        s.kill("collector")
        source.write(50)
        os.truncate(source.path, 0)
        del source.written[100:]
        source.write(30)
        s.start("collector")
        s.has("cut", 130)
        compare(source, s.lines("cut"), "truncated while down")
        assert [(g["reason"], g["next"]) for g in s.gaps("cut")] == [("source-truncated", 101)], s.gaps("cut")


def a_deleted_file_is_read_to_its_end():
    with Direct() as s:
        source = Source(s, "deleted")
        source.write(10)
        s.has("deleted", 10)
        s.kill("broker")  # nothing can be read meanwhile
        until(lambda: not s.probe(s.collector_port), 10, "the collector says that no broker answers")
        source.write(5000)
        time.sleep(0.2)
        os.unlink(source.path)
        source.write(5000)
        source.close()
        s.start("broker")
        s.stopped("deleted")
        compare(source, s.lines("deleted"), "deleted")
        assert not s.gaps("deleted")


def the_gz_of_a_copy_is_no_copy_of_what_comes_after():
    """logrotate with copytruncate and compress, caught between copy and truncation: copy and .gz were both held for copies of
    the original, the .gz still when that had been truncated. The next time the wrong one went on for it: a file came twice."""
    with Direct() as s:
        source = Rotating(s, "packed", kind="copytruncate-gz")
        for turn in range(1, 6):
            source.write(200)
            s.has("packed", 200 * turn)
            source.shift()
            until(lambda n=turn: s.metric("files ") == n, 20, "all before is settled, and told")
            shutil.copyfile(source.path, source.path + ".1")
            until(lambda n=turn: s.metric("files ") > n, 20, "the copy was seen")
            s.process["collector"].send_signal(signal.SIGSTOP)
            os.truncate(source.path, 0)
            source.compress(source.path + ".1")
            s.process["collector"].send_signal(signal.SIGCONT)
        source.write(30)
        source.exit(0)
        s.stopped("packed")
        compare(source, s.lines("packed"), "copied, truncated and packed")
        assert not s.gaps("packed"), s.gaps("packed")


def a_plain_line_split_by_rotation_is_joined():
    with Direct(["plain:LOGS/{sandbox}/console.log"]) as s:
        folder = s.logs + "/vm"
        os.mkdir(folder)
        path = folder + "/console.log"
        with open(path, "wb") as f:
            f.write(b"first\nbegun here, ")
        s.has("vm", 1)
        os.rename(path, path + ".1")
        with open(path, "wb") as f:
            f.write(b"ended there\nlast\n")
        s.has("vm", 3)
        assert [o["line"] for o in s.lines("vm")] == [b"first", b"begun here, ended there", b"last"], s.lines("vm")
        s.restart("collector")
        s.up()
        with open(path, "ab") as f:
            f.write(b"more\n")
        s.has("vm", 4)
        assert [o["line"] for o in s.lines("vm")][1:] == [b"begun here, ended there", b"last", b"more"], s.lines("vm")


def pieces_are_joined_across_rotation_and_restart():
    def record(n, stream, tag, text):
        return f"2026-11-20T20:42:04.{n:09d}Z {stream} {tag} {text}\n".encode()
    with Direct() as s:
        folder = s.logs + "/pod"
        os.mkdir(folder)
        path = folder + "/main.log"
        f = open(path, "wb", buffering=0)
        f.write(record(1, "stdout", "F", "one") + record(2, "stdout", "P", "aaa") + record(3, "stderr", "F", "err"))
        s.has("pod", 2)
        s.restart("collector")
        s.up()
        f.write(record(4, "stdout", "P", "bbb"))
        os.rename(path, path + ".20261120-204500")
        f = open(path, "wb", buffering=0)
        f.write(record(5, "stderr", "F", "err2") + record(6, "stdout", "P", "ccc"))
        s.has("pod", 3)
        s.restart("collector")
        s.up()
        f.write(record(7, "stdout", "F", "ddd") + record(8, "stdout", "P", "open"))
        s.has("pod", 4)
        s.restart("collector")
        s.up()
        with open(folder + "/exit_code", "w") as e:
            e.write("0\n")
        s.stopped("pod")
        got = [(o["stream"], o["line"], o["partial"], o["time"][-10:]) for o in s.lines("pod")]
        assert got == [("stdout", b"one", False, "000000001Z"), ("stderr", b"err", False, "000000003Z"),
                       ("stderr", b"err2", False, "000000005Z"), ("stdout", b"aaabbbcccddd", False, "000000002Z"),
                       ("stdout", b"open", True, "000000008Z")], got


if __name__ == "__main__":
    main([cri_files_rotate_in_every_way, docker_files_rotate_in_every_way, plain_files_rotate_in_every_way,
          rotated_while_the_collector_is_killed, rotated_while_the_collector_is_down,
          what_was_replaced_while_the_collector_was_down_is_a_gap,
          what_was_truncated_while_the_collector_was_down_is_a_gap, a_deleted_file_is_read_to_its_end,
          the_gz_of_a_copy_is_no_copy_of_what_comes_after, a_plain_line_split_by_rotation_is_joined, pieces_are_joined_across_rotation_and_restart])
