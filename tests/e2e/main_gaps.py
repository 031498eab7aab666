# SPDX-License-Identifier: Apache-2.0
"""What retention took is told once, with its true size, to who asked for it, and to nobody else."""
import random
import threading

from harness import Source, System, main, until
from rules import Ledger, View

READERS, LINES = 100, 5000


def retention_is_a_gap_for_who_asked_for_what_it_took():
    with System(broker=["--sandbox-bytes", "64KiB", "--segment-bytes", "4MiB"]) as s:
        source = Source(s, "box")
        for _ in range(25):
            source.write(5000)
            s.has("box", len(source.written))
        early = s.lines("box", limit=10)[-1]

        def taken():
            s.request("POST", "/compact", port=s.broker_port, timeout=60)
            return s.lines("box")[0].get("event") == "gap"
        until(taken, 60, "retention took the first lines")
        gap, first, *rest = s.lines("box")
        lost = first["seq"] - 1
        assert gap == {"event": "gap", "from": None, "to": first["cursor"], "lines": lost, "reason": "retention"}, gap
        assert first["seq"] + len(rest) == len(source.written)
        if early.get("cursor") and early["seq"] < lost:
            gap = s.lines("box", after=early["cursor"])[0]
            assert gap["from"] == early["cursor"] and gap["lines"] == lost - early["seq"], gap
        # a tail, and a page above a line, have what is kept; nothing was asked for that is gone
        assert s.lines("box", tail=len(source.written))[0] == first
        assert s.lines("box", before=rest[100]["cursor"], tail=5000)[0] == first
        assert s.lines("box", after=rest[0]["cursor"])[0] == rest[1]


class Pager:
    """Reads a sandbox page by page, some quickly, some so seldom that retention passes them by; held against the history's rules."""

    def __init__(self, s, box, number):
        self.s, self.view, self.dice = s, View(box, f"reader {number}"), random.Random(number)
        self.quick, self.most = number < 30, 4000 if number < 30 else 20 + number
        self.after, self.lost = None, 0

    def step(self, all_of_it=False):
        if not (self.quick or all_of_it) and self.dice.random() < 0.6:
            return
        for o in self.s.lines("box", limit=100000 if all_of_it else self.dice.randrange(1, self.most), **({"after": self.after} if self.after else {})):
            if "event" in o:
                before, behind = self.view.next_seq, int(o["to"].rpartition("-")[2])
                assert o["reason"] == "retention" and o["lines"] == behind - before, (self.view.who, before, o)
                self.lost += o["lines"]
                self.view.gap(o)
            else:
                self.view.line(o)
                self.after = o["cursor"]


def a_hundred_readers_get_each_line_or_its_gap_while_retention_takes_them():
    with System(broker=["--sandbox-bytes", "64KiB", "--segment-bytes", "4MiB"]) as s:
        source = Source(s, "box")
        box = Ledger().box("box", loses=True)
        readers = [Pager(s, box, i) for i in range(READERS)]
        over, faults = threading.Event(), []

        def work(mine):
            try:
                while not over.is_set():
                    for r in mine:
                        r.step()
            except Exception as e:  # raised below
                faults.append(e)
        workers = [threading.Thread(target=work, args=(readers[i::4],)) for i in range(4)]
        for turn in range(12):
            box.written["main"] = len(source.written) + LINES
            source.write(LINES)
            s.has("box", len(source.written))
            if turn == 0:
                for w in workers:
                    w.start()
            s.request("POST", "/compact", port=s.broker_port, timeout=60)
        over.set()
        for w in workers:
            w.join()
        if faults:
            raise faults[0]
        for r in readers:
            r.step(all_of_it=True)
            assert r.view.next_seq == len(source.written) + 1, (r.view.who, r.view.next_seq)
            assert r.view.delivered + r.lost == len(source.written), (r.view.who, r.view.delivered, r.lost)
            r.view.complete()
        lost = sum(r.lost > 0 for r in readers)
        print(f"   {len(source.written)} lines, {lost} readers lost some, {READERS - lost} none")
        assert lost > 10


if __name__ == "__main__":
    main([retention_is_a_gap_for_who_asked_for_what_it_took, a_hundred_readers_get_each_line_or_its_gap_while_retention_takes_them])
