# SPDX-License-Identifier: Apache-2.0
"""Nothing lost, nothing doubled, while every daemon in turn is killed with -9 under load."""
import json
import random
import subprocess
import threading
import time

from harness import BIN, PATIENCE, Source, Sse, System, WebSocket, check, main, until


def writer(source, rate, seconds, stop):
    """`rate` lines/s in batches of a 100th of a second."""
    start, done = time.monotonic(), 0
    while not stop.is_set() and (now := time.monotonic() - start) < seconds:
        due = int(min(now, seconds) * rate) - done
        if due > 0:
            source.write(due)
            done += due
        time.sleep(0.01)


def followed_exactly(system, sandbox, source, sse):
    got = [json.loads(data) for _, _, data in sse.logs()]
    check([source], got, "followed over SSE")
    assert [o["cursor"] for o in got] == [ident for _, ident, _ in sse.logs()], "the event id is the line's cursor"
    check([source], system.lines(sandbox), "read afterwards")
    assert sse.ended["last_seq"] == len(source.written) and sse.ended["lost"] == 0, sse.ended


class Socket:
    """A WebSocket that comes again behind the last cursor it saw; `objects` as they came."""

    def __init__(self, s, sandbox):
        self.s, self.sandbox, self.objects, self.connects = s, sandbox, [], 0
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.objects or self.objects[-1].get("event") != "end" or self.objects[-1]["reason"] == "shutdown":
            seen = [o["cursor"] for o in self.objects[-2:] if "cursor" in o]
            try:
                ws = WebSocket(self.s.port, self.s.url(self.sandbox, **({"after": seen[-1]} if seen else {})))
                self.connects += 1
                self.objects += ws.objects()
                ws.close()
            except (OSError, EOFError):
                time.sleep(0.02)


def cli(s, sandbox):
    """The command, which comes again by itself."""
    return subprocess.Popen([BIN + "/sandlog", "logs", "-f", "-o", "json", "--server", f"http://127.0.0.1:{s.port}", sandbox],
                            stdin=subprocess.DEVNULL, stdout=open(f"{s.dir}/cli.out", "wb"), stderr=open(f"{s.dir}/cli.err", "wb"))


def followed_by_others(s, source, ws, command):
    ws.thread.join(60 * PATIENCE)
    assert not ws.thread.is_alive() and ws.connects > 1, ws.connects
    check([source], ws.objects, "followed over WebSocket")
    assert command.wait(60 * PATIENCE) == 0, open(f"{s.dir}/cli.err").read()
    with open(f"{s.dir}/cli.out", "rb") as f:
        check([source], [json.loads(line) for line in f], "followed by the command")


def killed(name, rate, times):
    with System() as s:
        source = Source(s, "busy")
        source.write(1)
        s.has("busy", 1)
        sse = Sse(s.port, s.url("busy", follow=1, data="json"))
        others = (Socket(s, "busy"), cli(s, "busy")) if name == "gateway" else None  # what the others do is hidden by it
        stop = threading.Event()
        w = threading.Thread(target=writer, args=(source, rate, 6, stop))
        w.start()
        pause = random.Random(name)
        for _ in range(times):
            time.sleep(0.5 + pause.random())
            s.restart(name)
            until(lambda: s.probe({"broker": s.broker_port, "gateway": s.port, "collector": s.collector_port}[name],
                                  "/healthz"), 10, f"{name} lives again")
        w.join()
        source.exit(0)
        sse.wait_end(60)
        followed_exactly(s, "busy", source, sse)
        if others:
            followed_by_others(s, source, *others)
        print(f"   {len(source.written)} lines, {times} kills of {name}, {sse.connects} connections")


def a_follower_sees_every_line_once_while_the_broker_is_killed_three_times():
    killed("broker", 50_000, 3)


def a_follower_sees_every_line_once_while_the_collector_is_killed_three_times():
    killed("collector", 20_000, 3)


def a_follower_sees_every_line_once_while_the_gateway_is_killed_three_times():
    killed("gateway", 20_000, 3)


def nothing_is_lost_while_the_broker_is_not_there():
    with System(start=False) as s:
        source = Source(s, "early")
        s.start("collector")
        s.start("gateway")
        source.write(1000)
        until(lambda: s.probe(s.port, "/healthz") and s.probe(s.collector_port, "/healthz"), 10, "both live")
        until(lambda: not s.probe(s.collector_port), 5, "the collector says that it has no broker")
        status, headers, body = s.get(s.url("early"))
        assert status == 503 and json.loads(body)["type"].endswith("broker-unavailable"), (status, body)
        assert headers["Retry-After"], headers.items()
        s.start("broker")
        s.ready()
        s.has("early", 1000)
        check([source], s.lines("early"))


if __name__ == "__main__":
    main([a_follower_sees_every_line_once_while_the_broker_is_killed_three_times,
          a_follower_sees_every_line_once_while_the_collector_is_killed_three_times,
          a_follower_sees_every_line_once_while_the_gateway_is_killed_three_times,
          nothing_is_lost_while_the_broker_is_not_there])
