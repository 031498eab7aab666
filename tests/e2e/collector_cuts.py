# SPDX-License-Identifier: Apache-2.0
"""The link to the broker is cut at each request in turn, so that the collector begins anew from every state that it can be in: what was
to be said is said still, and once."""
import os
import shutil
import signal
import socket
import struct
import threading

from collector_direct import Direct, compare
from harness import Source, free_port, main, until

CUTS = 12


class Cutter:
    """Between collector and broker, over nng's TCP frames (RFC of nanomsg's SP over TCP: 8 bytes, then u64 length and bytes). While
    `on`, a connection is cut before its n-th request is passed on, or its n-th answer, n growing from connection to connection."""

    def __init__(self, to_port, answers):
        self.to_port, self.answers = to_port, answers
        self.on, self.done = False, 0
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.to_port))
            except OSError:
                near.close()  # the broker does not listen yet
                continue
            left = None
            if self.on and self.done < CUTS:
                left, self.done = self.done, self.done + 1
            for source, to, counts in ((near, far, not self.answers), (far, near, self.answers)):
                threading.Thread(target=self._pass, args=(source, to, left if counts else None), daemon=True).start()

    @staticmethod
    def _exactly(source, count):
        data = b""
        while len(data) < count:
            more = source.recv(count - len(data))
            if not more:
                raise OSError
            data += more
        return data

    def _pass(self, source, to, left):
        try:
            to.sendall(self._exactly(source, 8))
            while True:
                head = self._exactly(source, 8)
                message = self._exactly(source, struct.unpack(">Q", head)[0])
                if left == 0:
                    break  # it was sent, and does not arrive
                to.sendall(head + message)
                left = left and left - 1
        except OSError:
            pass
        for end in (source, to):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def close(self):
        self.listener.close()


class Cut(Direct):
    def __init__(self, answers):
        self.ingest = free_port()
        self.cutter = Cutter(self.ingest, answers)
        super().__init__()

    def command(self, name):
        words = super().command(name)
        if name == "broker":
            words[words.index("--ingest") + 1] = f"tcp://127.0.0.1:{self.ingest}"
        else:
            words[words.index("--broker") + 1] = f"tcp://127.0.0.1:{self.cutter.port}"
        return words

    def close(self):
        self.cutter.close()
        super().close()

    def cut_all_through(self, source):
        self.cutter.on = True
        self.start("collector")

        def done():
            source.write()  # so that there is always something to ask
            return self.cutter.done == CUTS
        until(done, 60, "all cuts")
        self.cutter.on = False


def in_every_way(scene):
    for answers in (False, True):
        with Cut(answers) as s:
            scene(s, Source(s, "box"), "answers" if answers else "requests")


def a_file_that_vanished_is_told(s, source, what):
    source.write(100)
    s.has("box", 100)
    s.kill("collector")
    source.write(50)
    os.unlink(source.path)
    source.file.close()
    source.file = open(source.path, "ab", buffering=0)
    del source.written[100:]
    source.write(30)
    s.cut_all_through(source)
    source.write(20)
    source.exit()
    s.stopped("box")
    compare(source, s.lines("box"), what)
    gaps = s.gaps("box")
    assert len(gaps) == 1 and s.dump("box")[100].get("event") == "gap", f"{what}: {gaps}"


def one_of_two_files_that_vanished_is_told(s, source, what):
    side = Source(s, "box", "side")
    for one in (source, side):
        one.write(100)
    s.has("box", 200)
    s.kill("collector")
    source.write(20)
    os.unlink(side.path)
    side.file.close()
    side.file = open(side.path, "ab", buffering=0)
    side.write(30)
    s.cut_all_through(side)
    source.exit()
    s.stopped("box")
    for one in (source, side):
        lines = [o for o in s.lines("box") if o["container"] == one.container]
        compare(one, [dict(o, seq=i + 1) for i, o in enumerate(lines)], what)
    gaps = s.gaps("box")
    assert len(gaps) == 1, f"{what}: {gaps}"


def a_sandbox_that_was_removed_is_told(s, source, what):
    """Its end, and one gap: of what was unread when its file went, or of a file that nobody saw."""
    other = Source(s, "other")
    for rotated in (False, True):
        source = Source(s, f"box-{rotated}")
        source.write(100)
        s.has(source.sandbox, 100)
        if rotated:  # its only source is ended
            source.rotate()
            os.unlink(source.path + ".1")
            until(lambda: s.metric("files ") == 3, 20, "it was let go of: its new file is left, and those of two others")
        s.kill("collector")
        source.file.write(source.render(source.make("stdout"), "stdout", source.last_ns))
        shutil.rmtree(os.path.dirname(source.path))
        s.cutter.done = 0
        s.cut_all_through(other)
        s.stopped(source.sandbox)
        compare(source, s.lines(source.sandbox), what)
        assert s.gaps(source.sandbox), f"{what}, rotated: {rotated}: no gap"


def files_that_lost_their_names_are_told(s, source, what):
    source.write(100)
    s.has("box", 100)
    s.kill("collector")
    s.kill("broker")
    source.write(50)
    os.unlink(source.path)
    del source.written[100:]
    source.file.close()
    source.file = open(source.path, "ab", buffering=0)
    source.write(30)
    s.start("collector")
    until(lambda: s.probe(s.collector_port, "/healthz") and s.metric("open_files") == 1, 20, "the new file is open")
    shutil.rmtree(os.path.dirname(source.path))
    s.start("broker")
    s.stopped("box")
    compare(source, s.lines("box"), what)
    assert len(s.gaps("box")) == 1, s.gaps("box")


def a_file_that_was_missed_is_told_in_its_place(s, source):
    source.write(100)
    s.has("box", 100)
    s.kill("broker")
    source.write(20)

    def next_file(lines):
        os.unlink(source.path)
        source.file.close()
        source.file = open(source.path, "ab", buffering=0)
        source.write(lines)
    for files in (2, 3, 4):  # they are held, and stand before it
        next_file(10)
        until(lambda: s.metric("open_files") == files, 20, f"{files} files are held")
    collector = s.process["collector"]
    collector.send_signal(signal.SIGSTOP)
    next_file(20)  # it comes and goes while nobody looks
    next_file(30)
    del source.written[150:170]
    collector.send_signal(signal.SIGCONT)
    s.start("broker")
    source.exit()
    s.stopped("box")
    compare(source, s.lines("box"), "stood still")
    told = [o.get("seq", "gap") for o in s.dump("box") if o.get("event") in (None, "gap") and ("seq" in o or "event" in o)]
    assert told == [*range(1, 151), "gap", *range(151, 181)], told


def copies_are_read_once(s, source, what):
    source.write(100)
    s.has("box", 100)
    s.kill("collector")
    for n in (3, 2, 1):
        source.write(50)
        shutil.copyfile(source.path, f"{source.path}.{n}")
        os.truncate(source.path, 0)
    source.write(30)
    s.cut_all_through(source)
    source.write(20)
    source.exit()
    s.stopped("box")
    compare(source, s.lines("box"), what)
    assert not s.gaps("box"), f"{what}: {s.gaps('box')}"


def files_without_a_name_are_told_when_the_link_is_cut():
    in_every_way(a_file_that_vanished_is_told)
    in_every_way(one_of_two_files_that_vanished_is_told)


def sandboxes_that_were_removed_end_behind_a_gap_when_the_link_is_cut():
    in_every_way(a_sandbox_that_was_removed_is_told)


def files_that_are_gone_are_told_when_what_came_after_is_gone_too():
    with Cut(False) as s:
        files_that_lost_their_names_are_told(s, Source(s, "box"), "names lost")


def a_missed_file_is_told_behind_what_came_before_it():
    with Cut(False) as s:
        a_file_that_was_missed_is_told_in_its_place(s, Source(s, "box"))


def copies_of_a_truncated_file_are_read_once_when_the_link_is_cut():
    in_every_way(copies_are_read_once)


if __name__ == "__main__":
    main([files_without_a_name_are_told_when_the_link_is_cut, sandboxes_that_were_removed_end_behind_a_gap_when_the_link_is_cut,
          files_that_are_gone_are_told_when_what_came_after_is_gone_too, a_missed_file_is_told_behind_what_came_before_it,
          copies_of_a_truncated_file_are_read_once_when_the_link_is_cut])
