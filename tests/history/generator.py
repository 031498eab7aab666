# SPDX-License-Identifier: Apache-2.0
"""Sandboxes as runtimes make them: log files in each format, rotated in each way, with partial records, torn writes and long lines, and
ended in each way. What a sandbox is like follows from the seed and its number alone; what it wrote is in the ledger."""
import gzip
import json
import os
import random
import shutil
import threading
import time

from rules import make_line, rfc3339

FORMS = ("cri", "cri", "docker", "plain")
# How files go: the first ones lose nothing whatever the collector does; of the others something may be lost, which has to be told.
ROTATIONS = ("none", "rename", "numbered", "gz", "acknowledged", "replace", "copytruncate", "delete")
LOSING = ("replace", "copytruncate", "delete")
ENDINGS = ("exit", "exit", "put", "removed")
PADS = [bytes(random.Random(i).choices(b"abcdefghijklmnopqrstuvwxyz  .:/=\"\\", k=400)) for i in range(64)]
LONG = 10_000  # bytes of a long line; the collector is given --max-line-bytes below that
KEPT = 200     # rotated files; no more are made in a sandbox's life


class Log:
    """One container's log file."""

    def __init__(self, sandbox, container):
        self.sandbox, self.container = sandbox, container
        self.path = f"{sandbox.folder}/{container}{'-json' if sandbox.form == 'docker' else ''}.log"
        self.file = open(self.path, "ab", buffering=0)
        self.turn, self.torn, self.gone = 0, b"", []
        self.since, self.first = time.monotonic(), 0  # when this file came, and its first line
        self.parts = []  # the rotated ones: (first line, end, when it came)

    def write(self, count, dice, clock_ns):
        """`count` lines in one write(2), or now and then in two with a pause between them."""
        box, chunk = self.sandbox.box, []
        number = box.written[self.container]
        for i in range(count):
            ns = max(self.sandbox.last_ns + 1, clock_ns) if not self.sandbox.jumps else clock_ns + i
            self.sandbox.last_ns = ns
            roll = dice.random()
            stream = "stdout" if self.sandbox.form == "plain" or roll < 0.7 else "stderr"
            pad = PADS[int(roll * 1e6) & 63][:int(roll * 1e5) % 120]
            # Pieces count as lines of the store, and in plain text those of two containers stand among each other.
            if roll < 0.0005 and self.sandbox.rotation != "acknowledged" and len(box.written) == 1:
                pad = pad + b"x" * LONG
            text = make_line(self.sandbox.name, self.container, stream, number + i, ns, pad)
            chunk.append(self.sandbox.render(text, stream, ns, pieces=roll < 0.02))
        data = self.torn + b"".join(chunk)
        self.torn = b""
        # Counted before a reader can see it.
        box.written[self.container] = number + count
        if dice.random() < 0.05:
            cut = dice.randrange(1, len(data))
            data, self.torn = data[:cut], data[cut:]
        self.file.write(data)
        self.sandbox.total += count

    def finish_torn(self):
        if self.torn:
            self.file.write(self.torn)
            self.torn = b""

    def reopen(self):
        self.file.close()
        self.file = open(self.path, "ab", buffering=0)

    def shift(self):
        for n in range(self.turn, 0, -1):
            for ending in ("", ".gz"):
                if os.path.exists(f"{self.path}.{n}{ending}"):
                    os.rename(f"{self.path}.{n}{ending}", f"{self.path}.{n + 1}{ending}")

    def rotate(self, kind):
        if self.turn >= KEPT:
            return
        if kind != "rename" or self.sandbox.form != "plain":
            self.finish_torn()  # a plain line torn by a rename is joined; runtimes rotate between records
        if kind in ("rename", "acknowledged"):  # kubelet, containerd
            old = f"{self.path}.20261120-{self.turn:06d}"
            os.rename(self.path, old)
            self.gone.append((old, self.sandbox.total))
            self.reopen()
        elif kind in ("numbered", "gz"):  # logrotate, dockerd
            self.shift()
            if kind == "gz" and os.path.exists(self.path + ".2"):
                with open(self.path + ".2", "rb") as plain, gzip.open(self.path + ".2.gz", "wb", 1) as packed:
                    shutil.copyfileobj(plain, packed)
                os.unlink(self.path + ".2")
            os.rename(self.path, self.path + ".1")
            self.reopen()
        elif kind == "replace":  # conmon: a new file takes the place of the old one
            new = open(self.path + ".new", "ab", buffering=0)
            os.rename(self.path + ".new", self.path)
            self.file.close()
            self.file = new
            self.next_file()
        elif kind == "copytruncate":
            self.shift()
            shutil.copyfile(self.path, self.path + ".1")
            os.truncate(self.path, 0)
        elif kind == "delete":
            os.unlink(self.path)
            self.reopen()
            self.next_file()
        if kind not in ("replace", "delete"):
            written = self.sandbox.box.written[self.container]
            self.parts.append((self.first, written, self.since))
            self.since, self.first = time.monotonic(), written
        self.turn += 1

    def next_file(self):
        """The one before is gone. If the collector died meanwhile, nobody may ever have begun it or have heard of it."""
        written, now = self.sandbox.box.written[self.container], time.monotonic()
        self.gone_for_good(self.first, written, self.since, now)
        self.since, self.first = now, written

    def gone_for_good(self, first, end, since, now):
        self.sandbox.box.unknowable.append((self.container, first, end, lambda: not self.sandbox.blind(since, now, self.sandbox.begun)))


class Sandbox:
    """One sandbox's life: a plan made from the seed and its number, carried out by the generator."""

    def __init__(self, ledger, root, seed, index, rate, life_s, blind=lambda since, until, begun: False, only=(), disorder=False, name="box"):
        self.blind = blind
        dice = self.dice = random.Random(f"{seed}/{name}/{index}")
        self.name = f"{name}-{index}"
        self.form = dice.choice(FORMS)
        self.rotation = dice.choice(ROTATIONS)
        if only and self.rotation not in only:
            self.rotation = dice.choice(only)
        self.ending = dice.choice(ENDINGS)
        self.rate = rate * dice.choice((0.1, 0.5, 1, 1, 2))
        self.life_s = dice.uniform(*life_s)
        self.turn_s = dice.uniform(0.25, 3)
        self.jumps = self.form != "plain" and dice.random() < 0.3  # its clock is stepped
        self.step_ns, self.last_ns = 0, 0
        self.folder = f"{root}/{self.form}/{self.name}"
        os.makedirs(self.folder)
        loses = self.rotation in LOSING or self.ending == "removed"
        self.box = ledger.box(self.name, loses=loses, gaps=loses or self.rotation == "acknowledged", times=self.form != "plain",
                              ordered=not disorder,
                              about=f"({self.form}, rotated by {self.rotation} every {self.turn_s:.2f} s, ends by {self.ending})")
        containers = ["main"] if self.form == "plain" or self.rotation == "acknowledged" or dice.random() < 0.6 else ["main", "side"]
        for container in containers:
            self.box.written[container] = 0
        self.total = 0
        self.logs = [Log(self, c) for c in containers]
        self.begun = time.monotonic()
        self.turned, self.done_lines, self.ended = self.begun, 0, None
        self.rotations = 0
        self.told_at = 0  # when the court stopped it, by PUT

    def render(self, text, stream, ns, pieces):
        stamp = rfc3339(ns)
        if self.form == "plain":
            return text + b"\n"
        parts = [text]
        if (pieces or len(text) > 8192) and len(text) > 10:
            cut = min(len(text) // 2, 8192)
            parts = [text[:cut], text[cut:]]
        if self.form == "cri":
            head = f"{stamp} {stream} ".encode()
            return b"".join(head + (b"F " if i == len(parts) - 1 else b"P ") + p + b"\n" for i, p in enumerate(parts))
        return b"".join(f'{{"log":{json.dumps(p.decode() + (chr(10) if i == len(parts) - 1 else ""))},"stream":"{stream}","time":"{stamp}"}}\n'
                        .encode() for i, p in enumerate(parts))

    def tick(self, now):
        """Writes what is due, rotates when it is time; False when its life is over."""
        if now - self.begun >= self.life_s:
            return False
        due = int((now - self.begun) * self.rate) - self.done_lines
        if due > 0:
            if self.jumps and self.dice.random() < 0.02:
                self.step_ns = self.dice.choice((0, -3_600_000_000_000, 2_000_000_000, 86_400_000_000_000))
            for log in self.logs:
                log.write(due, self.dice, time.time_ns() + self.step_ns)
            self.done_lines += due
        if self.rotation != "none" and now - self.turned >= self.turn_s:
            self.turned = now
            self.rotations += 1
            for log in self.logs:
                log.rotate(self.rotation)
        return True

    def end(self, put):
        """The runtime's end of it. put(name, code) tells the control plane."""
        for log in self.logs:
            log.finish_torn()
        self.ended = time.monotonic()
        if self.ending != "removed":
            self.box.exit_code = 7
        if self.ending == "exit":
            with open(self.folder + "/.exit_code.tmp", "w") as f:
                f.write("7\n")
            os.rename(self.folder + "/.exit_code.tmp", self.folder + "/exit_code")
        elif self.ending == "removed":
            for name in os.listdir(self.folder):
                os.unlink(f"{self.folder}/{name}")
            for log in self.logs:
                for first, end, since in log.parts:
                    log.gone_for_good(first, end, since, time.monotonic())
                log.next_file()
        else:
            self.box.put_at = self.ended
            put(self.name, 7)
        for log in self.logs:
            log.file.close()

    def prune(self, stored):
        """Removes rotated files whose lines are all stored: what was acknowledged may go."""
        if self.rotation == "acknowledged":
            for log in self.logs:
                while log.gone and log.gone[0][1] <= stored:
                    os.unlink(log.gone.pop(0)[0])

    def remove(self):
        shutil.rmtree(self.folder, ignore_errors=True)


class Generator:
    """Keeps `alive` sandboxes going from one thread, a new one for each that ends; `on_new` and `on_end` are told."""

    def __init__(self, ledger, root, seed, rate, alive, life_s, on_new, on_end, put, blind, only=(), disorder=False):
        self.blind, self.only, self.disorder = blind, only, disorder
        self.ledger, self.root, self.seed, self.alive, self.life_s = ledger, root, seed, alive, life_s
        self.rate = rate / alive
        self.on_new, self.on_end, self.put = on_new, on_end, put
        self.boxes, self.made, self.stopping = [], 0, False
        self.lines, self.rotations = 0, {}
        self.fault = None
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()

    def stop(self):
        """No new ones; those that live are ended."""
        self.stopping = True
        self.thread.join()
        if self.fault:
            raise self.fault

    def _run(self):
        try:
            while not self.stopping or self.boxes:
                while not self.stopping and len(self.boxes) < self.alive:
                    box = Sandbox(self.ledger, self.root, self.seed, self.made, self.rate, self.life_s, self.blind, self.only,
                                  self.disorder)
                    self.made += 1
                    self.boxes.append(box)
                    self.on_new(box)
                now = time.monotonic()
                for box in list(self.boxes):
                    if not box.tick(now) or self.stopping:
                        self.boxes.remove(box)
                        box.end(self.put)
                        self.lines += sum(box.box.written.values())
                        self.rotations[box.rotation] = self.rotations.get(box.rotation, 0) + box.rotations
                        self.on_end(box)
                time.sleep(0.01)
        except Exception as e:  # told by stop()
            self.fault = e
