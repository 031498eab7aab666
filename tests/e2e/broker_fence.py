# SPDX-License-Identifier: Apache-2.0
"""What a collector that was killed had sent into a cut network comes when the network is mended: behind the first lines of the
collector that was started after it, and its file is gone, so that nobody sends those lines anew in their place. They stood behind newer ones."""
import os
import shutil
import socket
import threading

from harness import Redis, Source, System, free_port, main, until


class Network:
    """Between collectors and a broker. cut(): what is sent to the broker on the connections of now is held, and it is not told
    of their ends; new ones are not touched."""

    def __init__(self, path, to):
        self.to, self.lock, self.lines = to, threading.Lock(), []
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen(16)
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                near, _ = self.listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            try:
                far.connect(self.to)
            except OSError:
                near.close()  # the broker does not listen yet
                continue
            line = {"near": near, "far": far, "cut": False, "held": b"", "let_go": False}
            self.lines.append(line)
            threading.Thread(target=self.carry, args=(line,), daemon=True).start()
            threading.Thread(target=self.answers, args=(line,), daemon=True).start()

    def carry(self, line):
        try:
            while data := line["near"].recv(1 << 16):
                with self.lock:
                    if line["cut"]:
                        line["held"] += data
                    else:
                        line["far"].sendall(data)
        except OSError:
            pass
        with self.lock:
            if not line["cut"]:
                line["far"].close()

    def answers(self, line):
        try:
            while data := line["far"].recv(1 << 16):
                line["answered"] = True
                self.give(line["near"].sendall, data)
        except OSError:
            pass
        line["let_go"] = True
        self.give(line["near"].shutdown, socket.SHUT_RDWR)

    @staticmethod
    def give(how, what):
        try:
            how(what)
        except OSError:
            pass  # it is dead

    def cut(self):
        with self.lock:
            for line in self.lines:
                line["cut"], line["answered"] = True, False

    def held(self):
        return sum(len(line["held"]) for line in self.lines)

    def mend(self):
        """What was held arrives; waits until it was answered, or its connection is gone."""
        for line in self.lines:
            if not line["held"]:
                continue
            try:
                line["far"].sendall(line["held"])
            except OSError:
                pass
            until(lambda: line["answered"] or line["let_go"], 10, "a sign of the broker")

    def close(self):
        self.listener.close()
        for line in self.lines:
            for end in ("near", "far"):
                line[end].close()


class Cut(System):
    """The collector's way to its broker leads through a network. With `other`, a second broker on the same store is its next one."""

    def __init__(self, other=False):
        self.second, self.network = other, None
        super().__init__(start=False)
        if other and not self.redis:
            self.redis = Redis("--appendonly", "yes")
        self.network = Network(f"{self.dir}/network.sock", f"{self.dir}/ingest.sock")
        for name in ("broker", "broker2", "gateway", "collector") if other else ("broker", "gateway", "collector"):
            self.start(name)
        self.ready()

    def command(self, name):
        words = super().command("broker" if name == "broker2" else name)
        change = lambda flag, value: words.__setitem__(words.index(flag) + 1, value)
        if name == "broker2":
            change("--ingest", f"ipc://{self.dir}/ingest2.sock")
            change("--query", f"ipc://{self.dir}/query2.sock")
            change("--http", "127.0.0.1:0")
        elif name == "collector":
            change("--broker", f"ipc://{self.dir}/" + ("ingest2.sock" if self.away else "network.sock"))
        return words

    away = False  # the next collector goes to the second broker

    def close(self):
        if self.network:
            self.network.close()
        super().close()


def stored_in_order(s):
    source = Source(s, "box")
    source.write(10)
    s.has("box", 10)
    s.network.cut()
    source.write(20)
    until(lambda: s.network.held() > 500, 10, "the lines are on their way")
    s.kill("collector")
    source.rotate()
    os.unlink(source.path + ".1")
    del source.written[10:]
    source.write(30)
    s.away = s.second
    s.start("collector")
    s.has("box", 40)
    if s.second:  # which hears of it through Redis, a moment after
        until(lambda: all(line["let_go"] for line in s.network.lines), 10, "the first broker lets go of the dead one")
    s.network.mend()
    source.write(5)
    s.has("box", 45)
    objects = s.lines("box")
    lines = [o["line"].encode() for o in objects if "line" in o]
    assert lines == [text for _, _, text in source.written], [o.get("line", o)[:40] if "line" in o else o for o in objects]


def what_a_dead_collector_had_on_its_way_does_not_stand_behind_its_successors_lines():
    with Cut() as s:
        stored_in_order(s)


def nor_where_the_successor_is_at_another_broker():
    with Cut(other=True) as s:
        stored_in_order(s)


def collectors_of_one_host_that_live_are_served_side_by_side():
    with Cut() as s:
        source = Source(s, "box")
        source.write(10)
        s.has("box", 10)
        s.process["first"] = s.process.pop("collector")
        s.collector_port = free_port()
        s.start("collector")
        s.ready()
        for _ in range(20):
            source.write(10)
            s.has("box", len(source.written))
        assert [o["line"].encode() for o in s.lines("box")] == [text for _, _, text in source.written]
        # the older one was let go once, and came again; the newer one stayed
        until(lambda: sum(not line["let_go"] for line in s.network.lines) == 2, 10, "both are connected")
        assert len(s.network.lines) == 3, [line["let_go"] for line in s.network.lines]


if __name__ == "__main__":
    tests = [what_a_dead_collector_had_on_its_way_does_not_stand_behind_its_successors_lines, collectors_of_one_host_that_live_are_served_side_by_side]
    if shutil.which("redis-server"):
        tests.append(nor_where_the_successor_is_at_another_broker)
    main(tests)
