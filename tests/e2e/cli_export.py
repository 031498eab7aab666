# SPDX-License-Identifier: Apache-2.0
"""`sandlog export` against a server that misbehaves on purpose: answers cut at every byte, acknowledgements that are lost
before or after they were done, refusals; and against its own death at any moment. No daemon is needed. What lies in the
folder at the end is every line once."""
import collections
import glob
import http.server
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
import urllib.parse

from harness import BIN, PATIENCE, main, skip, until

SANDLOG = os.path.join(BIN, "sandlog")


class Exporter:
    """Serves `records` (objects, without sandbox announcements) in pages of `page` to any consumer. `cut(n)` of the n-th answer:
    None, or after how many bytes it is cut. `ack(n)` of the n-th acknowledgement: None, "before", "after" (closed without an
    answer), or a status. An answer is announced as the API says: the place, what is known of a sandbox, lines, checkpoints."""

    def __init__(self, records, page=7, cut=lambda n: None, ack=lambda n: None, refuse=lambda n: None):
        self.records, self.page, self.cut, self.ack, self.refuse = records, page, cut, ack, refuse
        self.places, self.answers, self.acks, self.acked = collections.Counter(), 0, 0, []
        self.held = threading.Event()  # set: acknowledgements are answered
        self.held.set()
        self.waiting = 0
        self.lock = threading.Lock()
        self.tokens = set()
        me = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def do_GET(self):
                self.close_connection = True
                try:
                    me.get(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass

            def do_POST(self):
                try:
                    me.post(self)
                except (BrokenPipeError, ConnectionResetError):
                    pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request, address):
                pass  # who was killed has reset its connections

        self.server = Server(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def pages(self, start):
        yield json.dumps({"checkpoint": f"p-{start}"}).encode() + b"\n"
        known = {}
        at = start
        while at < len(self.records):
            out = b""
            for r in self.records[at:at + self.page]:
                life = r.get("life", "1")
                if "event" not in r and known.get(r["sandbox"]) != life:
                    known[r["sandbox"]] = life
                    out += json.dumps({"event": "sandbox", "sandbox": r["sandbox"], "life": life, "host": "h", "labels": {"team": "blue"}}).encode() + b"\n"
                out += json.dumps({k: v for k, v in r.items() if k != "life"}, separators=(",", ":")).encode() + b"\n"
            at = min(at + self.page, len(self.records))
            yield out + json.dumps({"checkpoint": f"p-{at}"}).encode() + b"\n"

    def plain(self, h, status, body, kind="application/json", extra=()):
        h.send_response(status)
        h.send_header("Content-Type", kind)
        h.send_header("Content-Length", str(len(body)))
        for k, v in extra:
            h.send_header(k, v)
        h.end_headers()
        h.wfile.write(body)

    def get(self, h):
        url = urllib.parse.urlsplit(h.path)
        if url.path == "/v1/export":
            return self.plain(h, 200, json.dumps({"consumers": [{"consumer": c, "checkpoint": f"p-{n}", "lag_lines": len(self.records) - n}
                                                                for c, n in self.places.items()]}).encode())
        consumer, follow = url.path.rsplit("/", 1)[1], "follow" in url.query
        with self.lock:
            n, self.answers = self.answers, self.answers + 1
        refusal = self.refuse(n)
        if refusal:
            status, code = refusal
            body = json.dumps({"type": "urn:sandlog:problem:" + code, "title": code, "status": status, "detail": code + " it is"}).encode()
            return self.plain(h, status, body, "application/problem+json")
        left = self.cut(n)
        h.send_response(200)
        h.send_header("Content-Type", "application/x-ndjson")
        h.send_header("Transfer-Encoding", "chunked")
        h.end_headers()
        at = self.places[consumer]
        while True:
            for data in self.pages(at):
                if left is not None and left < len(data):
                    data = data[:left]
                    h.wfile.write(b"%x\r\n%s" % (len(data) + 5, data))  # a chunk that says more than it holds
                    h.wfile.flush()
                    return
                left = left - len(data) if left is not None else None
                h.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
            at = len(self.records)
            if not follow:
                h.wfile.write(b"0\r\n\r\n")
                return
            while at == len(self.records):
                time.sleep(0.02)
                h.connection.settimeout(0.001)
                try:
                    if h.connection.recv(1) == b"":
                        return
                except (TimeoutError, OSError):
                    pass
                h.connection.settimeout(None)

    def post(self, h):
        consumer = h.path.split("/")[3]
        place = json.loads(h.rfile.read(int(h.headers["Content-Length"])))["checkpoint"]
        with self.lock:
            n, self.acks = self.acks, self.acks + 1
            self.waiting += 1
        self.held.wait()
        self.waiting -= 1
        what = self.ack(n)
        if what == "before":
            h.close_connection = True
            return
        if isinstance(what, int):
            return self.plain(h, what, b"{}")
        self.places[consumer] = max(self.places[consumer], int(place[2:]))
        self.acked.append(place)
        if what == "after":
            h.close_connection = True
            return
        self.plain(h, 200, json.dumps({"checkpoint": f"p-{self.places[consumer]}"}).encode())

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def lines(count, hours=3, sandboxes=4, seed=1):
    """Lines of some sandboxes whose times jump between some hours."""
    r, out, seq = random.Random(seed), [], collections.Counter()
    for i in range(count):
        s = f"box-{r.randrange(sandboxes)}"
        seq[s] += 1
        out.append({"sandbox": s, "seq": seq[s], "time": f"2026-02-20T{10 + i * hours // count + r.randrange(2):02d}:30:00.{i:09d}Z", "stream": "stdout",
                    "container": "main", "line": f"line {i} " + "x" * r.randrange(60)})
    return out


def environment(server, **more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SANDLOG_") and "proxy" not in k.lower()}
    return dict(env, SANDLOG_SERVER=server.url, **more)


def start(server, folder, *args, consumer="archive", **more):
    return subprocess.Popen([SANDLOG, "export", consumer, "--to", folder, *args], env=environment(server, **more), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process, seconds=60):
    out, err = process.communicate(timeout=seconds * PATIENCE)
    assert out == "", out
    return process.returncode, err


def read(folder):
    """(hour's folder, object) of everything that is filed, as lz4 reads it."""
    out = []
    for path in sorted(glob.glob(folder + "/date=*/hour=*/*")):
        assert path.endswith(".ndjson.lz4"), path
        data = subprocess.run(["lz4", "-dc", path], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        out += [(os.path.relpath(os.path.dirname(path), folder), json.loads(line)) for line in data.splitlines()]
    return out


def check(folder, records):
    """Every record once, in the folder of its hour, its sandbox told of before; nothing half-written is left."""
    assert not glob.glob(folder + "/date=*/hour=*/.*"), "leftovers"
    want = collections.Counter((f"date={r['time'][:10]}/hour={r['time'][11:13]}", r["sandbox"], r["seq"], r["line"]) for r in records if "line" in r)
    have = collections.Counter((hour, o["sandbox"], o["seq"], o["line"]) for hour, o in read(folder) if "line" in o)
    assert have == want, f"missing {list((want - have).items())[:3]}, doubled or foreign {list((have - want).items())[:3]}"
    gaps = [o for _, o in read(folder) if o.get("event") == "gap"]
    assert gaps == [r for r in records if r.get("event") == "gap"], gaps
    for path in glob.glob(folder + "/date=*/hour=*/*"):
        known = set()
        for line in subprocess.run(["lz4", "-dc", path], check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.splitlines():
            o = json.loads(line)
            known |= {o["sandbox"]} if o.get("event") == "sandbox" else set()
            assert "line" not in o or o["sandbox"] in known, f"{path}: a line of {o['sandbox']} before it was told of"


class Folder:
    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="sandlog-export-")
        return self.path + "/out"

    def __exit__(self, *args):
        shutil.rmtree(self.path)


def everything_is_filed_once_and_a_second_run_finds_nothing():
    records = lines(1000)
    records.insert(500, {"event": "gap", "sandbox": "box-1", "from_seq": 7, "to_seq": 9, "lines": 1, "reason": "retention"})
    server = Exporter(records)
    with Folder() as folder:
        code, err = finish(start(server, folder, "--once"))
        assert code == 0 and "exported 1000 lines" in err and "1 gap, where at least 1 are missing" in err, (code, err)
        check(folder, records)
        code, err = finish(start(server, folder, "--once", "--quiet"))
        assert (code, err) == (0, ""), (code, err)
        check(folder, records)
    server.close()


def answers_cut_at_any_byte_and_lost_acknowledgements_double_nothing():
    records = lines(300)
    whole = sum(len(p) for p in Exporter(records).pages(0))
    r = random.Random(5)
    cuts = [r.randrange(whole // 8) for _ in range(8)] + [0, 20]
    server = Exporter(records, cut=lambda n: cuts[n] if n < len(cuts) else None, ack=lambda n: [None, "before", "after", 503][n % 4] if n < 16 else None)
    with Folder() as folder:
        code, err = finish(start(server, folder, "--once", "--batch-bytes", "2KiB"), 120)
        assert code == 0, (code, err)
        check(folder, records)
    assert server.answers > 3, server.answers
    server.close()


def killed_at_any_moment_it_goes_on_without_double():
    records = lines(4000, hours=5)
    server = Exporter(records, page=20)
    r = random.Random(int(os.environ.get("SANDLOG_SEED", "3")))
    kills = 0
    with Folder() as folder:
        while server.places["archive"] < len(records):
            process = start(server, folder, "--once", "--batch-bytes", str(r.choice([200, 3000, 30000])))
            begun = server.acks
            if r.random() < 0.5:  # between two acknowledgements, or right behind one
                until(lambda: server.acks > begun or process.poll() is not None, 20, "an acknowledgement")
            time.sleep(r.random() * 0.02)
            process.kill()
            process.communicate()
            kills += 1
        code, err = finish(start(server, folder, "--once"))
        assert code == 0, err
        check(folder, records)
    assert kills > 3, kills
    server.close()


def a_shorter_repeat_takes_the_place_of_a_longer_attempt():
    """The first attempt has written hours 10 to 13 under the name of its place and dies before it is acknowledged. The repeat
    ends earlier, in hour 10: what the first wrote into the later hours would stay beside what the next batches write there."""
    records = [dict(r, time=f"2026-02-20T{10 + i // 100}:00:00.{i:09d}Z") for i, r in enumerate(lines(400))]
    server = Exporter(records, page=50)
    with Folder() as folder:
        server.held.clear()
        process = start(server, folder, "--once")
        until(lambda: server.waiting > 0, 20, "an acknowledgement")
        assert len(glob.glob(folder + "/date=*/hour=*/p-0.ndjson.lz4")) == 4
        process.kill()
        process.communicate()
        os.remove(folder + "/.sandlog-export-place")  # as if it had died between its files and its note of them
        server.ack = lambda n: "before" if n == 0 else None
        server.held.set()
        until(lambda: server.waiting == 0, 20)
        assert server.places["archive"] == 0
        # as if it had died while it wrote, too
        open(folder + "/date=2026-02-20/hour=12/.p-0.ndjson.lz4.tmp", "w").close()
        server.held.clear()
        process = start(server, folder, "--once", "--batch-bytes", "1KiB")
        until(lambda: server.waiting > 0, 20, "an acknowledgement")
        check(folder, records[:50])
        server.held.set()
        code, err = finish(process)
        assert code == 0, err
        check(folder, records)
    server.close()


def acknowledgements_that_the_server_forgot_double_nothing():
    """A Redis that failed over to a replica that lacked the last acknowledgements gave lines again, in batches with other
    boundaries: the files of the batches behind the first one stayed beside them."""
    records = lines(600)
    server = Exporter(records[:400])
    with Folder() as folder:
        code, err = finish(start(server, folder, "--once", "--batch-bytes", "2KiB"))
        assert code == 0 and server.places["archive"] == 400 and len(server.acked) > 5, (code, err)
        for back, until_line in ((5, 500), (2, 600)):
            server.records = records[:until_line]
            server.places["archive"] = int(server.acked[-back][2:])
            code, err = finish(start(server, folder, "--once", "--batch-bytes", "3KiB"))
            assert code == 0, (code, err)
            check(folder, records[:until_line])
        # One that does not know the place at all: said, and gone on with.
        server.places["archive"] = 590
        server.ack = lambda n, first=server.acks: 410 if n == first else None
        code, err = finish(start(server, folder, "--once"))
        assert code == 0 and err.count("the server does not know the place where") == 1, (code, err)
    server.close()


def a_consumer_that_is_busy_and_a_folder_that_is_taken_are_told_in_one_line():
    server = Exporter(lines(10), refuse=lambda n: (409, "consumer-busy"))
    with Folder() as folder:
        code, err = finish(start(server, folder))
        assert code == 1 and err.count("\n") == 1 and "another sandlog export reads as archive" in err, (code, err)
        server.refuse = lambda n: None
        first = start(server, folder)
        until(lambda: glob.glob(folder + "/date=*/hour=*/.*.tmp"), 20, "it writes")
        code, err = finish(start(server, folder))
        assert (code, err) == (1, f"sandlog: {folder}: another sandlog export writes there\n"), (code, err)
        first.terminate()
        assert finish(first)[0] == 0
        code, err = finish(start(server, folder, consumer="other"))
        assert code == 1 and "is the folder of the consumer archive" in err and err.count("\n") == 1, (code, err)
    server.close()


def sigterm_finishes_the_batch_and_ctrl_c_drops_it():
    records = lines(500)
    server = Exporter(records)
    with Folder() as folder:
        process = start(server, folder)
        temporary = lambda: glob.glob(folder + "/date=*/hour=*/.*.tmp")
        until(lambda: len(temporary()) > 2, 20, "a batch that is being written")
        process.send_signal(signal.SIGINT)
        code, err = finish(process)
        assert code == 130 and not temporary() and server.places["archive"] == 0, (code, err, server.places)
        process = start(server, folder)
        until(lambda: len(temporary()) > 2, 20, "a batch that is being written")
        process.terminate()
        code, err = finish(process)
        assert code == 0 and "exported" in err, (code, err)
        done = server.places["archive"]
        assert done > 0
        check(folder, records[:done])
    server.close()


def a_full_disk_is_told_once_and_heals():
    if os.geteuid() != 0:
        return print("not root: no small disk")
    records = [dict(r, line="%064x" % random.Random(i).getrandbits(4000)) for i, r in enumerate(lines(3000, hours=1))]
    server = Exporter(records)
    with Folder() as folder:
        os.mkdir(folder)
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], stderr=subprocess.DEVNULL).returncode != 0:
            server.close()
            return print("no tmpfs can be mounted")
        try:
            process = start(server, folder)
            until(lambda: server.answers > 2, 30, "it tries again")
            assert server.places["archive"] == 0 and server.acks == 0
            subprocess.run(["mount", "-o", "remount,size=64m", folder], check=True)
            until(lambda: glob.glob(folder + "/date=*/hour=*/.*.tmp"), 60)
            process.terminate()
            code, err = finish(process)
            assert code == 0 and err.count("no space left on device") == 1, (code, err)
            code, err = finish(start(server, folder, "--once"))
            check(folder, records)
        finally:
            subprocess.run(["umount", folder], check=True)
    server.close()


def a_server_that_is_away_is_waited_for_unless_once():
    server = Exporter(lines(20))
    server.close()
    with Folder() as folder:
        code, err = finish(start(server, folder, "--once"))
        assert code == 1 and err.startswith("sandlog: cannot reach ") and "connection refused" in err, (code, err)
        process = start(server, folder)
        line = process.stderr.readline()
        assert "connection refused; trying again" in line, line
        process.terminate()
        assert finish(process)[0] == 0


def a_password_is_not_to_be_seen_in_the_list_of_processes():
    server = Exporter(lines(5))
    for to in (["--to", "http://writer:geh%2feim@127.0.0.1:1/default.logs"], ["--to=http://writer:geh%40eim@127.0.0.1:1/default.logs"]):
        p = subprocess.Popen([SANDLOG, "export", "archive", *to], env=environment(server), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        said = p.stderr.readline()
        with open(f"/proc/{p.pid}/cmdline", "rb") as f:
            words = f.read()
        p.kill()
        said += p.communicate()[1]
        assert b"writer" in words and b"@127.0.0.1:1" in words and b"geh" not in words and b"eim" not in words, words
        assert b"cannot reach ClickHouse" in said and b"geh" not in said and b"eim" not in said, said
    server.close()


if __name__ == "__main__":
    if not shutil.which("lz4"):
        skip("no lz4 on this machine")
    main([everything_is_filed_once_and_a_second_run_finds_nothing, answers_cut_at_any_byte_and_lost_acknowledgements_double_nothing,
          killed_at_any_moment_it_goes_on_without_double, a_shorter_repeat_takes_the_place_of_a_longer_attempt,
          acknowledgements_that_the_server_forgot_double_nothing,
          a_consumer_that_is_busy_and_a_folder_that_is_taken_are_told_in_one_line, sigterm_finishes_the_batch_and_ctrl_c_drops_it,
          a_full_disk_is_told_once_and_heals, a_server_that_is_away_is_waited_for_unless_once,
          a_password_is_not_to_be_seen_in_the_list_of_processes])
