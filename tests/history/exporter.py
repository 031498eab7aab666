# SPDX-License-Identifier: Apache-2.0
"""A consumer of the export that dies at random: it reads, acknowledges now and then, hangs up, comes again. What it has been given in all
is the log of each sandbox: each line at least once, in order, the same line under the same number."""
import http.client
import json
import random
import threading
import time

from readers import PATIENCE, SILENCE_S
from rules import View, Violation


class Exporter:
    def __init__(self, world, ledger, seed):
        self.host, self.port, self.ledger, self.dice = world.host, world.port, ledger, random.Random(f"{seed}/export")
        self.views = {}          # sandbox -> View
        self.lines = self.again = self.connects = self.acks = self.vain = 0
        self.fault, self.stopping, self.absent = None, False, False
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def covers(self, box, late=False):
        """Everything of it that anybody was given has been exported, the gaps too."""
        with self.lock:
            view = self.views.get(box.name)
            if self.absent or not box.settled:
                return True
            if view is None or view.next_seq <= len(box.settled):
                return False
            try:
                view.complete()
            except Violation:
                if late:
                    raise
                return False
            return True

    def drop(self, box):
        with self.lock:
            box.over = True
            self.views.pop(box.name, None)

    def _run(self):
        while not self.stopping and not self.absent:
            try:
                self._once()
            except (OSError, http.client.HTTPException):
                pass
            except Violation as v:
                self.fault = v
                return
            except Exception as e:  # unreadable is a violation too
                self.fault = Violation("invented", "export", f"unreadable: {type(e).__name__}: {e}")
                return
            time.sleep(0.05)

    def _ack(self, checkpoint):
        c = http.client.HTTPConnection(self.host, self.port, timeout=10 * PATIENCE)
        c.request("POST", "/v1/export/chaos/ack", json.dumps({"checkpoint": checkpoint}), {"Content-Type": "application/json"})
        r = c.getresponse()
        body = r.read()
        c.close()
        self.acks += r.status == 200
        if r.status in (400, 404, 410):
            raise Violation("acknowledged", "export", f"status {r.status} to the checkpoint {checkpoint}: {body[:300]}")

    def _once(self):
        c = http.client.HTTPConnection(self.host, self.port, timeout=SILENCE_S * PATIENCE)
        c.request("GET", "/v1/export/chaos?follow=1")
        r = c.getresponse()
        if r.status != 200:
            body = r.read()
            if r.status not in (409, 429, 503):
                raise Violation("acknowledged", "export", f"status {r.status}: {body[:300]}")
            time.sleep(0.3)
            return
        self.connects += 1
        # longer each time that it got no acknowledgement through, so that a slow machine comes to an end too
        acks, until, pending = self.acks, time.monotonic() + self.dice.uniform(0.5, 6) * 2 ** min(self.vain, 5), b""
        try:
            while not self.stopping and time.monotonic() < until and (chunk := r.read1(65536)):
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    if line:
                        self._object(json.loads(line))
        finally:
            self.vain = self.vain + 1 if self.acks == acks else 0
            c.close()

    def _object(self, o):
        if "checkpoint" in o:
            if self.dice.random() < (0.3 if self.vain < 3 else 1):
                self._ack(o["checkpoint"])
            return
        box = self.ledger.boxes.get(o["sandbox"])
        with self.lock:
            if box is None or box.over:
                return  # judged; it may come again
            view = self.views.setdefault(box.name, View(box, f"export of {box.name}"))
        if "event" not in o:
            self.lines += 1
            if o["seq"] < view.next_seq:
                self.again += 1
            else:
                view.line(o, cursor=False)
        elif o["event"] == "gap" and o["to_seq"] >= view.next_seq:
            view.gap(o)
