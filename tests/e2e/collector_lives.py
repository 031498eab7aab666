# SPDX-License-Identifier: Apache-2.0
"""Sandboxes that live for a moment: what the collector saw of one is read to its end or said to be missing.
`collector_lives.py 10000` is the size of the promise; without a number it is a smaller one."""
import ctypes
import heapq
import json
import os
import random
import signal
import sys
import time

from collector_direct import Direct
from harness import Source, check, line_bytes, main, until

COUNT = int(sys.argv.pop(1)) if len(sys.argv) > 1 and sys.argv[1].isdigit() else 600


class Lives(Direct):
    """Read back through a gateway: one request a sandbox."""

    def __init__(self):
        super().__init__()
        self.lasts = 0
        self.start("gateway")
        self.ready()

    def over(self):
        """Everything that was ever seen is read, acknowledged and forgotten: all that is left is a sandbox made after it."""
        self.lasts += 1
        last = Source(self, f"last{self.lasts}")
        last.write(1)
        self.has(last.sandbox, 1)
        last.close()
        held = lambda: [self.metric(name) for name in ("files ", "sandboxes ", "open_files")]
        try:
            until(lambda: held() == 3 * [self.lasts], 30, "nothing else is held")
        except AssertionError as e:
            raise AssertionError(f"files, sandboxes, open files: {held()}") from e

    def judge(self, source):
        """whole, gap, or unseen; anything else fails."""
        info = self.info(source.sandbox)
        if info is None:
            return "unseen"
        assert info["state"] == "stopped", info
        _, _, data = self.get(self.url(source.sandbox, format="ndjson"))
        objects = [json.loads(line) for line in data.split(b"\n") if line]
        gaps = [o["reason"] for o in objects if o.get("event") == "gap"]
        if not gaps:
            check([source], objects, source.sandbox)
            return "whole"
        assert set(gaps) == {"source-vanished"}, (source.sandbox, gaps)
        rest = iter(text for _, _, text in source.written)
        for o in objects:
            assert "event" in o or line_bytes(o) in rest, f"{source.sandbox}: a line that was not written, or not in this order"
        return "gap"

    def judge_all(self, sources):
        found = {"whole": [], "gap": [], "unseen": []}
        for source in sources:
            found[self.judge(source)].append(source)
        print("   " + ", ".join(f"{len(v)} {k}" for k, v in found.items()))
        return found


STATX = ctypes.CDLL(None, use_errno=True).statx


def unmoved(folder):
    """Its time of change is that of its birth."""
    st = ctypes.create_string_buffer(256)
    assert STATX(-100, folder.encode(), 0, 0xfff, st) == 0, os.strerror(ctypes.get_errno())
    return st.raw[80:92] == st.raw[112:124]


def remove(source):
    os.unlink(source.path)
    os.rmdir(os.path.dirname(source.path))


def short_lives_are_whole_or_a_gap():
    """5 to 500 ms, forty at a time; one in three goes on writing when its file has no name any more."""
    with Lives() as s:
        dice = random.Random(1)
        acts, sources = [], []  # (when, number, function): a heap
        begin = time.monotonic()
        for i in range(COUNT):
            heapq.heappush(acts, (begin + i * 0.0065, i, "born"))
        while acts:
            when, i, act = heapq.heappop(acts)
            time.sleep(max(0, when - time.monotonic()))
            if act == "born":
                source = Source(s, f"fly{i}")
                sources.append(source)
                source.write(dice.randint(1, 30))
                life = 0.005 * 100 ** dice.random()
                if dice.random() < 0.5:
                    heapq.heappush(acts, (when + life / 2, i, "write"))
                heapq.heappush(acts, (when + life, i, "die"))
            elif act == "write":
                sources[i].write(dice.randint(1, 30))
            else:
                remove(sources[i])
                if i % 3 == 0:
                    sources[i].write(dice.randint(1, 30))
                sources[i].close()
        s.over()
        found = s.judge_all(sources)
        assert not found["unseen"], [source.sandbox for source in found["unseen"]]
        assert len(found["whole"]) > COUNT / 2, "the machine may be slow, but most are seen"


def lives_of_a_millisecond_leave_a_gap():
    """Folder, file and lines are made and removed at once. That the folder was there is always seen. That it held a file is not
    when the collector opened it between the two removals and all of it fell into one tick of the kernel's clock: then its own
    time has not moved since it was made, and nothing tells it from a folder that held nothing. No other is missing."""
    with Lives() as s:
        sources, traceless = [], set()
        for i in range(300):
            folder = f"{s.logs}/fly{i}"
            os.mkdir(folder)
            source = Source(s, f"fly{i}")
            source.write(3)
            source.close()
            os.unlink(source.path)
            if unmoved(folder):
                traceless.add(source.sandbox)
            os.rmdir(folder)
            sources.append(source)
            time.sleep(random.choice((0, 0.001, 0.005)))
        s.over()
        found = s.judge_all(sources)
        print(f"   {len(traceless)} of them within one tick")
        assert {source.sandbox for source in found["unseen"]} <= traceless


def files_of_a_millisecond_in_a_watched_folder_leave_a_gap():
    """Here inotify tells of each name, whatever the clock says: none is missing."""
    with Lives() as s:
        sources = [Source(s, f"fly{i}") for i in range(100)]
        for source in sources:
            source.close()
            os.unlink(source.path)
        s.over()
        sources = []
        for i in range(100):
            source = Source(s, f"fly{i}")
            source.write(3)
            source.close()
            os.unlink(source.path)
            sources.append(source)
        s.over()
        found = s.judge_all(sources)
        assert not found["unseen"], [source.sandbox for source in found["unseen"]]


def what_lived_while_the_collector_stood_still_is_a_gap():
    """Nothing of it could be opened, so each is a gap: the queue told of the folders."""
    with Lives() as s:
        s.process["collector"].send_signal(signal.SIGSTOP)
        sources = []
        for i in range(200):
            source = Source(s, f"fly{i}")
            source.write(5)
            source.close()
            remove(source)
            sources.append(source)
        s.process["collector"].send_signal(signal.SIGCONT)
        until(lambda: s.metric("gaps_total") >= 200, 20, "gaps")
        s.over()
        found = s.judge_all(sources)
        assert len(found["gap"]) == 200


def a_deleted_file_is_read_to_its_end():
    with Lives() as s:
        sources = [Source(s, f"held{i}") for i in range(20)]
        for source in sources:
            source.write(1)
        for source in sources:
            s.has(source.sandbox, 1)  # it is open
        for source in sources:  # and is let go when nothing has come for a second
            remove(source)
        for _ in range(20):
            for source in sources:
                source.write(50)
            time.sleep(0.02)
        for source in sources:
            source.close()
        s.over()
        found = s.judge_all(sources)
        assert len(found["whole"]) == 20


if __name__ == "__main__":
    main([short_lives_are_whole_or_a_gap, lives_of_a_millisecond_leave_a_gap, files_of_a_millisecond_in_a_watched_folder_leave_a_gap,
          what_lived_while_the_collector_stood_still_is_a_gap, a_deleted_file_is_read_to_its_end])
