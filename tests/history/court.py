# SPDX-License-Identifier: Apache-2.0
"""Who gives each sandbox its readers, reads it once more in every form when it is over, and adds up what came of it."""
import http.client
import json
import queue
import random
import threading
import time

from readers import KINDS, MANY, PATIENCE, ManyReader, Reader
from rules import View, Violation

OVER_S = 150  # from a sandbox's end until every reader has its `end`, under faults


class Court:
    def __init__(self, world, ledger, seed, readers_each=2, exporter=None, keep_going=False):
        self.keep_going, self.violations = keep_going, []
        self.exporter, self.faults = exporter, None
        self.world, self.ledger, self.seed, self.each = world, ledger, seed, readers_each
        self.readers = {}       # sandbox -> its readers
        self.many = []
        self.waiting = []       # sandboxes for the next reader of several
        self.fault = None
        self.ended = queue.Queue()
        self.left = 0
        self.lock = threading.Lock()
        self.sum = dict.fromkeys(("sandboxes", "written", "numbered", "delivered", "gaps", "missing", "late", "displaced", "readers", "connects", "resumes", "final", "probes", "unknown", "never heard of", "stopped again"), 0)
        self.kinds = {}
        self.dice = random.Random(f"{seed}/court")
        self.threads = [threading.Thread(target=self._work, daemon=True) for _ in range(3)]
        self.threads.append(threading.Thread(target=self._probe, daemon=True))
        self.live, self.over = [], False
        for t in self.threads:
            t.start()

    # ---- from the generator's thread ------------------------------------------------------------------------------
    def on_new(self, box):
        dice = random.Random(f"{self.seed}/readers/{box.name}")
        mine = [Reader(kind, self.world, box.box) for kind in dice.sample([k for k in KINDS if k != "late"], self.each)]
        box.late_at = time.monotonic() + dice.uniform(1, 5)
        with self.lock:
            self.readers[box.name] = mine
            self.live.append(box)
            self.waiting.append(box.box)
            if len(self.waiting) == 3:
                self.many.append(ManyReader(dice.choice(MANY), self.world, self.waiting))
                self.waiting = []

    def on_end(self, box):
        with self.lock:
            self.live.remove(box)
            self.left += 1
        self.ended.put(box)

    def put(self, name, code):
        threading.Thread(target=self._put, args=(name, code), daemon=True).start()

    def _put(self, name, code):
        while not self.over and self.ask("PUT", "/v1/sandboxes/" + name, json.dumps({"state": "stopped", "exit_code": code}))[0] != 200:
            time.sleep(0.3)

    # ---- from the main thread -------------------------------------------------------------------------------------
    def broken(self, fault, name=None):
        """A rule is broken: that is the end, or it is noted and the sandbox is left alone."""
        if not self.keep_going or not isinstance(fault, Violation):
            raise fault
        if any(self.ledger.boxes[n].over for n in [name] if n in self.ledger.boxes):
            return  # noted once
        self.violations.append(fault)
        faults = "; ".join(f"{at:.1f} {what} {length:g} s" for at, what, length in self.faults.log[-12:]) if self.faults else ""
        print(f"  {len(self.violations)}. {time.strftime('%H:%M:%S')} {fault}\n  faults: {faults}", flush=True)
        if name in self.ledger.boxes:
            self.ledger.boxes[name].over = True
        for r in self.readers.get(name, []):
            r.stop()

    def turn(self):
        """Raises what a reader found; lets late readers begin; lets go of those of several that are done."""
        if self.fault:
            raise self.fault
        if self.exporter and self.exporter.fault and not self.exporter.absent:
            self.exporter.absent = True
            self.broken(self.exporter.fault)
        with self.lock:
            for name, mine in self.readers.items():
                for r in [r for r in mine if r.fault]:
                    mine.remove(r)
                    self.broken(r.fault, name)
            for r in [m for m in self.many if m.fault]:
                self.many.remove(r)
                if not any(b.over for b in r.boxes):
                    self.broken(r.fault)
            for box in self.live:
                if box.late_at and time.monotonic() > box.late_at:
                    seen = [s for r in self.readers[box.name] for s in r.seen]
                    if seen:
                        number, cursor = seen[len(seen) // 2]
                        self.readers[box.name].append(Reader("late", self.world, box.box, after=cursor, first=number + 1))
                        box.late_at = None
            for r in [m for m in self.many if m.finished]:
                self.many.remove(r)
                self._add(r, r.views.values())
                try:
                    for view in r.views.values():
                        self._complete(view, r.finished)
                except Violation as v:
                    self.broken(v)

    def finish(self, seconds):
        """All sandboxes have ended; waits until they are judged. Who can't begin yet is started again meanwhile."""
        deadline = time.monotonic() + seconds * PATIENCE
        while self.left or self.many:
            self.world.watch_over()
            self.turn()
            if not self.left and self.waiting:
                self.waiting = []
            if time.monotonic() > deadline:
                raise Violation("end", "the court", f"{self.left} sandboxes are not over; of several: "
                                + "; ".join(f"{m.name}: {[v.over for v in m.views.values()]}, status {m.status}" for m in self.many))
            time.sleep(0.02)
        self.over = True
        self.turn()

    # ---- judging one sandbox --------------------------------------------------------------------------------------
    def ask(self, method, path, body=None):
        try:
            return self.world.request(method, path, body, {"Content-Type": "application/json"} if body else {}, timeout=20)
        except (OSError, http.client.HTTPException):
            return 0, {}, b""

    def _work(self):
        while not self.over:
            try:
                box = self.ended.get(timeout=0.2)
            except queue.Empty:
                continue
            try:
                if self._judge(box):
                    with self.lock:
                        self.left -= 1
                else:
                    self.ended.put(box)
                    time.sleep(0.1)
            except Violation as v:
                with self.lock:
                    try:
                        self.broken(v, box.name)
                        self.left -= 1
                    except Violation:
                        self.fault = self.fault or v
            except Exception as e:  # told by turn()
                self.fault = self.fault or e
                return

    def _judge(self, box):
        """True when all of it has been seen to be right; False: not yet."""
        mine = self.readers[box.name]
        if box.box.over:
            return True
        status, _, body = self.ask("GET", "/v1/sandboxes/" + box.name)
        state = json.loads(body) if status == 200 else {}
        box.box.promised = max(box.box.promised, state.get("lines", 0))
        late = time.monotonic() - box.ended > OVER_S * PATIENCE
        if state.get("state") != "stopped":
            if late:
                raise Violation("end", box.name, f"not stopped {OVER_S} s after its end by {box.ending}: status {status}, {state}; written {box.box.written}")
            now = time.monotonic()
            # A file that nobody knew when the word came makes its sandbox run again (API.md): the word is said again.
            again = box.ending == "put" and state and now - box.ended > 15
            # Whose files came and went before anybody had a line of it: there is nothing that could end, for anybody but us.
            unheard = box.ending == "removed" and status == 404 and not box.box.settled and now - box.ended > 20 * PATIENCE
            if (again or unheard) and now - box.told_at > 50:
                self.sum["stopped again"] += again
                self.sum["never heard of"] += unheard and not box.told_at
                box.told_at = now
                self._put(box.name, 7)
            return False
        if any(r.finished is None and not r.fault for r in mine):
            if late:
                raise Violation("end", box.name, "followers without end: " + "; ".join(
                    f"{r.name}: {r.view.delivered} lines, status {r.status}, {r.connects} connections" for r in mine if r.finished is None))
            return False
        if any(r.fault for r in mine) or not self._read_whole(box, late):
            return False
        if self.exporter and not self.exporter.covers(box.box, late):
            if late:
                raise Violation("missing", f"export of {box.name}", f"not exported {OVER_S} s after its end")
            return False
        for r in mine:
            self._complete(r.view, r.finished)
            self._add(r, [r.view])
        with self.lock:
            self.sum["sandboxes"] += 1
            self.sum["written"] += sum(box.box.written.values())
            self.sum["numbered"] += len(box.box.settled)
            del self.readers[box.name]
        # one that is yet to be read together with others stays: its reader would wait for it without end
        with self.lock:
            wanted = box.box in self.waiting or any(box.name in m.views for m in self.many)
        if box.dice.random() < 0.5 and not wanted:
            self.ask("DELETE", "/v1/sandboxes/" + box.name)
        if self.exporter:
            self.exporter.drop(box.box)
        if not wanted:
            self.ledger.forget(box.name)
        box.remove()
        return True

    def _complete(self, view, finished):
        if finished == "stopped before it was followed":
            return
        at = view.box.put_at
        if at and self.world.troubled(at - 5 * PATIENCE, at + 10 * PATIENCE):
            # The control plane's word ends followers 5 s later, also when the collector is away and lines are to come.
            return
        view.complete()

    def _read_whole(self, box, late):
        """Once more from the beginning, in each form. Not yet all there: False."""
        views = []
        for form in ("ndjson", "text", "sse"):
            known = len(box.box.settled)  # a line that another reader is given meanwhile need not be in this answer
            status, headers, body = self.ask("GET", f"/v1/sandboxes/{box.name}/logs?format={form}&gaps=1&data=json")
            if status != 200:
                if late:
                    raise Violation("acknowledged", box.name, f"read as {form}: status {status} {body[:200]}")
                return False
            if form == "sse" and b"\nevent: end\n" not in body and not late:
                return False  # cut: only `end` tells that it was whole
            view = View(box.box, f"{form} of {box.name}, read when it was over")
            READ[form](view, body)
            if form == "text":
                view.next_seq = None
            # After a stop by PUT without its collector the rest comes later.
            if box.ending == "put" and form == "ndjson" and not late:
                try:
                    view.complete(known)
                except Violation as v:
                    if v.rule in ("missing", "acknowledged"):
                        return False
                    raise
            view.complete(known)
            views.append(view)
        with self.lock:
            self.sum["final"] += sum(v.delivered for v in views)
            self.sum["missing"] += views[0].missing
            self.sum["unknown"] += views[0].unknown
            self.sum["late"] += views[0].late
            self.sum["displaced"] += views[0].displaced
        return True

    def _add(self, reader, views):
        self.kinds[reader.kind] = self.kinds.get(reader.kind, 0) + 1
        self.sum["readers"] += 1
        self.sum["connects"] += reader.connects
        self.sum["resumes"] += reader.resumes
        self.sum["delivered"] += sum(v.delivered for v in views)
        self.sum["gaps"] += sum(v.gaps for v in views)

    # ---- short reads at random, and what was acknowledged is pruned -----------------------------------------------------
    def _probe(self):
        while not self.over:
            time.sleep(0.2)
            with self.lock:
                live = list(self.live)
            if not live:
                continue
            box = self.dice.choice(live)
            try:
                status, _, body = self.ask("GET", f"/v1/sandboxes/{box.name}/logs?format=ndjson&tail=50")
                if status == 200:
                    READ["ndjson"](View(box.box, f"tail of {box.name}", None), body)
                    self.sum["probes"] += 1
                for box in live:
                    if box.rotation == "acknowledged":
                        status, _, body = self.ask("GET", "/v1/sandboxes/" + box.name)
                        if status == 200 and box in self.live:
                            box.box.promised = max(box.box.promised, json.loads(body)["lines"])
                            box.prune(json.loads(body)["lines"])
            except Violation as v:
                with self.lock:
                    try:
                        self.broken(v, box.name)
                    except Violation:
                        self.fault = self.fault or v
            except Exception as e:  # told by turn()
                self.fault = self.fault or e
                return


def read_ndjson(view, body):
    for line in body.split(b"\n"):
        if line:
            o = json.loads(line)
            if "event" not in o:
                view.line(o)
            elif o["event"] == "gap":
                view.gap(o)
            else:
                view.end(o)


def read_text(view, body):
    lines = body.split(b"\n")
    for line in lines[:-1]:
        if line.startswith(b"--- sandlog: gap"):
            view.gap(None)
        else:
            view.text(line)


def read_sse(view, body):
    for event in body.split(b"\n\n"):
        fields = dict(line.split(b": ", 1) for line in event.split(b"\n") if b": " in line)
        if fields.get(b"event") == b"log":
            view.line(json.loads(fields[b"data"]))
        elif fields.get(b"event") == b"gap":
            view.gap(json.loads(fields[b"data"]))
        elif fields.get(b"event") == b"end":
            view.end(json.loads(fields[b"data"]))


READ = {"ndjson": read_ndjson, "text": read_text, "sse": read_sse}
