# SPDX-License-Identifier: Apache-2.0
"""The schedule of faults: made from the seed before anything runs, so that a seed stands for one schedule."""
import heapq
import random
import signal
import time

KINDS = (("kill", 6), ("term", 2), ("pause", 3), ("cut", 3), ("fill", 2), ("clock", 3))
STEPS = (-86_400, -3_600, -5, 2, 60, 7_200, 172_800)


def schedule(seed, seconds, redis):
    """[(at_s, kind, who, for_s, extra)], nothing twice at once at one place."""
    dice = random.Random(f"faults/{seed}/{'redis' if redis else 'disk'}")
    daemons = ["broker", "broker", "collector", "gateway"] + (["broker2", "redis"] if redis else [])
    busy, plan, at = {}, [], 2.0
    while at < seconds - 1:
        kind = dice.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0]
        who = dice.choice(daemons)
        # Mostly short; now and then as long as everyone's patience of 5 s and more.
        length = dice.choice((0.05, 0.3, 1, 1, 2, 3, 8))
        extra = dice.choice(STEPS)
        if who == "redis" and kind in ("term", "clock"):  # libfaketime and its allocator do not go together
            kind = "kill"
        if kind == "fill":
            who = "disk"
        place = {"clock": who + "'s clock", "cut": who + "'s network", "fill": "redis" if redis else "disk"}.get(kind, who)
        if busy.get(place, 0) <= at:
            plan.append((round(at, 2), kind, who, length, extra))
            busy[place] = at + length + 1.0
        at += dice.expovariate(1 / 1.6)
    return plan


class Faults:
    """Carries the schedule out; call turn() often. Undone in time, or all at once by heal()."""

    def __init__(self, world, plan):
        self.world, self.begun = world, time.monotonic()
        self.todo = [(at, i, "do", f) for i, f in enumerate(plan) for at in (f[0],)]
        heapq.heapify(self.todo)
        self.done, self.log = {}, []

    def turn(self):
        while self.todo and self.todo[0][0] <= time.monotonic() - self.begun:
            _, i, step, fault = heapq.heappop(self.todo)
            if step == "undo":
                self._undo(fault)
            elif self._do(fault):
                heapq.heappush(self.todo, (fault[0] + fault[3], i, "undo", fault))

    def heal(self):
        undo = [f for _, _, step, f in self.todo if step == "undo"]
        self.todo = []
        for fault in undo:
            self._undo(fault)
        for name in self.world.names:
            self.world.set_clock(name, 0)

    def _do(self, fault):
        _, kind, who, _, extra = fault
        w = self.world
        if (kind == "cut" and not w.net) or (kind == "fill" and not w.disk) or (kind == "clock" and not w.faketime):
            return False
        if kind in ("kill", "term", "pause") and who in w.expected_down:
            return False
        what = f"{kind} {who}"
        self.done[what] = self.done.get(what, 0) + 1
        self.log.append((round(time.monotonic() - self.begun, 2), what, fault[3]))
        if kind in ("kill", "term"):
            w.down(who, signal.SIGKILL if kind == "kill" else signal.SIGTERM)
        elif kind == "pause":
            w.signal(who, signal.SIGSTOP)
        elif kind == "cut":
            w.cut(who, True)
        elif kind == "fill":
            w.fill(True)
        else:
            w.set_clock(who, extra)
        return True

    def _undo(self, fault):
        _, kind, who, _, _ = fault
        w = self.world
        if kind in ("kill", "term"):
            w.up(who)
        elif kind == "pause":
            w.signal(who, signal.SIGCONT)
        elif kind == "cut":
            w.cut(who, False)
        elif kind == "fill":
            w.fill(False)
        # A clock stays where it was put, until the next step or the end.
