# SPDX-License-Identifier: Apache-2.0
"""What a gateway does per line, block, follower and megabyte, counted instead of timed: decodes, renders, allocations,
writes, wakeups, page faults. Each bound lies at less than twice of what was counted when it was set."""
import http.client
import os
import random
import selectors
import signal
import socket
import threading
import time

from count_calls import ALLOCATIONS, READS, WRITES, Calls, counted, total
from harness import Source, System, main, rfc3339, until

LINES = 100_000
FOLLOWERS = 60  # of each format
BATCHES, LINES_A_BATCH = 30, 50
MARK = b"busy/main "  # in each line of harness.Source, once


def a_large_log(system):
    """Some 8 MB of text in one sandbox; returns it."""
    r, ns, text, cri = random.Random(1), time.time_ns() - 10 ** 12, [], []
    words = "GET POST health users items orders cache miss hit slow query done retry error timeout".split()
    for i in range(LINES):
        ns += r.randint(1000, 900_000)
        line = f"req={i:08d} {r.choice(words)} {r.choice(words)} status={r.choice((200, 404, 500))} took={r.randint(1, 99999)}us {r.random()}"
        text.append(line)
        cri.append(f"{rfc3339(ns)} stdout F {line}\n")
    os.mkdir(system.logs + "/large")
    with open(system.logs + "/large/main.tmp", "w") as f:
        f.write("".join(cri))
    os.rename(system.logs + "/large/main.tmp", system.logs + "/large/main.log")
    system.has("large", LINES, 60)
    return ("\n".join(text) + "\n").encode()


def faults(pid):
    with open(f"/proc/{pid}/stat") as f:
        return int(f.read().rsplit(")", 1)[1].split()[7])


class Spent:
    """What a gateway counted, the library in front of it counted, and the kernel counted, since it was made."""

    def __init__(self, system):
        self.system, self.pid = system, system.process["gateway"].pid
        self.counter = Calls(system.process["gateway"])
        self.begun, self.begin = time.monotonic(), self.now()

    def now(self):
        _, _, body = self.system.get("/metrics")
        metrics = {}
        for line in body.decode().splitlines():
            name, _, value = line.rpartition(" ")
            if name.startswith("sandlog_gateway_"):
                metrics[name[16:]] = float(value)
        return metrics, self.counter.now(), faults(self.pid)

    def end(self):
        metrics, calls, pages = self.now()
        self.calls = self.counter.since(self.begin[1])
        self.faults = pages - self.begin[2]
        # what the clock wakes is not theirs: ten times a second, with two or three calls each
        self.turns = max(0, total(self.calls, "epoll_wait", "poll").calls - 30 * (time.monotonic() - self.begun))
        self.metrics = {name: value - self.begin[0].get(name, 0) for name, value in metrics.items()}


def download(system, path):
    """Like a client that reads as fast as it comes."""
    c = http.client.HTTPConnection("127.0.0.1", system.port, timeout=60)
    c.request("GET", path)
    r = c.getresponse()
    assert r.status == 200, r.status
    data = bytearray()
    while piece := r.read(1 << 20):
        data += piece
    c.close()
    return bytes(data)


def within(what, **bounds):
    """name=(counted, most): none above its bound."""
    print(f"    {what}:", " ".join(f"{name} {counted:.3g} (<= {most:g})" for name, (counted, most) in bounds.items()), flush=True)
    over = {name: counted for name, (counted, most) in bounds.items() if counted > most}
    assert not over, f"{what}: more than there may be: {over}"


def downloads_cost_per_block_and_page_not_per_line():
    """Written when half of a download's time went into page faults, blocks that were decoded twice, and writes and turns
    of the loop for 32 KiB each. A page is some 250 KiB as it is stored, or 750 for who takes it within 100 ms."""
    with counted():
        system = System()
    with system:
        text = a_large_log(system)
        assert download(system, system.url("large")) == text  # also warms what is allocated once
        for form in ("text", "ndjson", "sse"):
            spent = Spent(system)
            mb = len(download(system, system.url("large", format=form))) / 1e6
            spent.end()
            calls, pages = spent.calls, spent.metrics["pages_total"]
            assert pages >= 4, pages
            within(form,
                   decoded_per_byte_of_text=(calls["decompress"].bytes / len(text), 1.3),
                   writes_per_mb=(spent.metrics["writes_total"] / mb, 7),
                   sends_per_mb=(total(calls, *WRITES).calls / mb, 14),
                   turns_per_mb=(spent.turns / mb, 18),
                   reads_per_page=(total(calls, *READS).calls / pages, 14),
                   allocations_per_page=(total(calls, *ALLOCATIONS).calls / pages, 16),
                   allocated_per_page_byte=(total(calls, *ALLOCATIONS).bytes / spent.metrics["page_bytes_total"], 2.3),
                   faults_per_mb=(spent.faults / mb, 100))


def a_download_that_becomes_slow_gets_every_byte():
    """What keeps up is given pages of 768 KiB; who then takes longer than a second for one gives them back, and goes on in small ones."""
    with System() as system:
        text = a_large_log(system)
        readers = []
        for _ in range(20):
            c = http.client.HTTPConnection("127.0.0.1", system.port, timeout=60)
            c.connect()
            c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
            c.request("GET", system.url("large"))
            r = c.getresponse()
            readers.append((r, bytearray(r.read(3_000_000))))
        began = time.monotonic()
        while time.monotonic() - began < 3:
            for r, data in readers:
                data += r.read(1 << 12)
            time.sleep(0.05)
        for r, data in readers:
            data += r.read()
            assert data == text, len(data)


class Followers(threading.Thread):
    """So many connections, read and thrown away; counts the lines of each."""

    def __init__(self, system, paths):
        super().__init__(daemon=True)
        self.selector, self.seen, self.over = selectors.DefaultSelector(), [0] * len(paths), False
        self.sockets, self.carried = [], [b""] * len(paths)
        for n, path in enumerate(paths):
            s = socket.create_connection(("127.0.0.1", system.port))
            s.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            self.selector.register(s, selectors.EVENT_READ, n)
            self.sockets.append(s)
        self.start()

    def run(self):
        while not self.over:
            for key, _ in self.selector.select(0.1):
                data = self.carried[key.data] + key.fileobj.recv(1 << 18)
                assert data != self.carried[key.data], f"a follower was dropped: {data[:300]}"
                self.seen[key.data] += data.count(MARK)
                self.carried[key.data] = data[1 - len(MARK):]

    def end(self):
        self.over = True
        self.join()
        for s in self.sockets:
            s.close()


def a_block_is_decoded_once_and_rendered_once_per_format_however_many_follow():
    with counted():
        system = System()
    with system:
        source = Source(system, "busy")
        source.write(1)
        system.has("busy", 1)
        forms = ("text", "ndjson", "sse")
        followers = Followers(system, [system.url("busy", format=form, follow=1, tail=0) for form in forms for _ in range(FOLLOWERS)])
        until(lambda: Spent(system).begin[0]["followers_count"] == len(forms) * FOLLOWERS, what="all follow")
        source.write(1)  # the first news: from now on they share
        until(lambda: min(followers.seen) == 1, 20, "all have the first line")
        spent = Spent(system)
        lines = BATCHES * LINES_A_BATCH
        for n in range(BATCHES):
            source.write(LINES_A_BATCH)
            until(lambda: min(followers.seen) >= 1 + (n + 1) * LINES_A_BATCH, 20, "all have the batch")
        spent.end()
        followers.end()
        assert followers.seen == [1 + lines] * len(followers.seen), followers.seen
        blocks, ticks = spent.metrics["blocks_total"], spent.metrics["asks_total"]
        assert spent.metrics["lines_total"] == len(forms) * lines, spent.metrics["lines_total"]
        # a tick's bytes may end one chunk of 32 KiB and begin the next: two writes then
        within(f"{len(forms) * FOLLOWERS} followers, {blocks:.0f} blocks",
               decodes_per_block=(spent.calls["decompress"].calls / blocks, 1),
               writes_per_follower_and_tick=(spent.metrics["writes_total"] / len(followers.seen) / ticks, 1.5),
               sends_per_follower_and_tick=(total(spent.calls, *WRITES).calls / len(followers.seen) / ticks, 1.6),
               allocations_per_block=(total(spent.calls, *ALLOCATIONS).calls / blocks, 24),
               turns_per_tick=(spent.turns / ticks, 5))


def who_shares_goes_on_sharing_when_the_gateway_stood_still():
    """Written when a gateway that was kept from a CPU for two seconds took what had come meanwhile for more than it keeps, and let go of it
    before anyone had had it: thousands of followers then read and rendered for themselves, with 2 GB, a minute late."""
    many, lines = 400, 4000
    with counted():
        system = System()
    with system:
        source = Source(system, "busy")
        source.write(1)
        system.has("busy", 1)
        followers = Followers(system, [system.url("busy", follow=1, tail=0)] * many)
        until(lambda: Spent(system).begin[0]["followers_count"] == many, what="all follow")
        source.write(1)  # the first news: from now on they share
        until(lambda: min(followers.seen) == 1, 20, "all have the first line")
        spent = Spent(system)
        os.kill(spent.pid, signal.SIGSTOP)
        try:
            source.write(lines)
            until(lambda: f"\nsandlog_broker_ingest_lines_total {2 + lines}\n".encode() in system.request("GET", "/metrics", port=system.broker_port)[2],
                  20, "all stored")
        finally:
            os.kill(spent.pid, signal.SIGCONT)
        until(lambda: min(followers.seen) == 1 + lines, 60, "all have all")
        spent.end()
        followers.end()
        assert followers.seen == [1 + lines] * many
        within(f"{many} followers, {lines} lines while it stood still",
               lines_rendered_per_line=(spent.metrics["lines_total"] / lines, 1),
               decodes_per_block=(spent.calls["decompress"].calls / spent.metrics["blocks_total"], 1))


main([downloads_cost_per_block_and_page_not_per_line,
      a_download_that_becomes_slow_gets_every_byte,
      a_block_is_decoded_once_and_rendered_once_per_format_however_many_follow,
      who_shares_goes_on_sharing_when_the_gateway_stood_still])
