# SPDX-License-Identifier: Apache-2.0
"""What operators see of the daemons: metrics that Prometheus reads, /status with followers and what they are behind, the share of bytes of
each reader, what systemd is told and how its units stand."""
import glob
import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time

from harness import BIN, PATIENCE, Source, Sse, System, main, until

HERE = os.path.dirname(os.path.abspath(__file__))
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (\S+)')
UNITS = ("seconds", "bytes", "total", "count", "ratio", "info")


def exposition(text):
    """Prometheus' text format 0.0.4, strictly: {family: (type, {(name, labels): value})}."""
    families, family = {}, None
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# "):
            kind, name, rest = line[2:].split(" ", 2)
            assert kind in ("HELP", "TYPE") and rest.strip(), line
            if kind == "HELP":
                assert name not in families, f"{name} comes in two places"
                family = families[name] = [None, {}]
            else:
                assert families[name] is family and family[0] is None and not family[1], line
                assert rest in ("counter", "gauge", "histogram"), line
                family[0] = rest
            continue
        name, labels, value = SAMPLE.fullmatch(line).groups()
        base = re.sub(r"_(bucket|sum|count)$", "", name) if re.sub(r"_(bucket|sum|count)$", "", name) in families else name
        assert families[base] is family and family[0], f"{line} does not stand with its family"
        assert (name, labels) not in family[1], f"{line} comes twice"
        family[1][name, labels] = float(value)
    return families


def check_metrics(daemon, text):
    families = exposition(text)
    for name, (kind, samples) in families.items():
        assert samples, name
        assert name.startswith((f"sandlog_{daemon}_", "process_")), name
        assert (kind == "counter") == name.endswith("_total"), (name, kind)
        if kind == "counter":
            assert all(v >= 0 for v in samples.values())
        if kind == "histogram":
            assert name.endswith("_seconds"), name
            buckets = [(labels, v) for (n, labels), v in samples.items() if n == name + "_bucket"]
            bounds = [float(re.search(r'le="([^"]+)"', labels)[1]) for labels, _ in buckets]
            assert bounds == sorted(bounds) and bounds[-1] == float("inf"), name
            counts = [v for _, v in buckets]
            assert counts == sorted(counts) and counts[-1] == samples[name + "_count", None] and (name + "_sum", None) in samples, name
        for _, labels in samples:
            assert not re.search(r"sandbox=|box", labels or ""), "no sandbox ids as labels"
    if shutil.which("promtool"):
        r = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        assert r.returncode in (0, 3), r.stderr # 3: advice only
        for line in r.stderr.splitlines():
            assert re.search(r"process_|no help|non-histogram and non-summary metrics should not have", line), line
    return families


def metrics_of_all_three_are_prometheus_text():
    with System() as s:
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        sse = Sse(s.port, s.url("box", follow=1))
        sse.wait(100)
        for _ in range(20):
            source.write(1)
            sse.wait(len(source.written))
        s.text("box")
        s.get("/nothing")
        ports = {"gateway": s.port, "broker": s.broker_port, "collector": s.collector_port}
        all_of = {}
        for daemon, port in ports.items():
            def ready():
                status, headers, body = s.request("GET", "/metrics", port=port)
                assert status == 200 and headers["Content-Type"].startswith("text/plain; version=0.0.4"), headers.items()
                return body.decode()
            all_of[daemon] = check_metrics(daemon, ready())
        value = lambda daemon, name, labels=None: all_of[daemon][re.sub(r"_(count|sum|bucket)$", "", name) if name not in all_of[daemon] else name][1][name, labels]
        g = "sandlog_gateway_"
        for name in ("first_byte_seconds", "first_line_seconds", "request_duration_seconds", "follow_lag_seconds"):
            assert value("gateway", g + name + "_count") > 0, name
            assert 0 < value("gateway", g + name + "_sum") < 60 * PATIENCE, name
        assert value("gateway", g + "followers_count") == 1 and value("gateway", g + "requests_total", 'code="4xx"') >= 1
        assert value("broker", "sandlog_broker_ingest_lines_total") == 120
        assert value("broker", "sandlog_broker_ingest_commit_seconds_count") > 0 and value("broker", "sandlog_broker_read_seconds_count") > 0
        until(lambda: check_metrics("collector", s.request("GET", "/metrics", port=s.collector_port)[2].decode())["sandlog_collector_lines_total"][1]
              ["sandlog_collector_lines_total", None] == 120, 5, "the collector's are published each second")
        sse.close()


def status_names_configuration_and_followers():
    with System(gateway=("--allow-origin", "https://a.example", "--allow-origin", "https://b.example")) as s:
        source = Source(s, "box")
        source.write(3000)
        s.has("box", 3000)
        quick = Sse(s.port, s.url("box", follow=1))
        quick.wait(3000)
        slow = socket.create_connection(("127.0.0.1", s.port))
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        slow.sendall(f"GET {s.url('box', follow=1, format='ndjson')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        several = socket.create_connection(("127.0.0.1", s.port))
        several.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        several.sendall(b"GET /v1/logs?sandbox=box&follow=1&format=sse HTTP/1.1\r\nHost: localhost\r\n\r\n")
        source.write(60000)
        quick.wait(63000, 60)

        def state():
            status = s.json("/status")
            by = {(f["sandbox"], f["format"]): f for f in status["followers"]}
            late = [f for f in by.values() if f["lag_lines"] > 1000 and f["lag_seconds"] >= 1]
            if len(by) == 3 and len(late) == 2 and by["box", "sse"]["lag_lines"] == 0:
                return status
        status = until(state, 30, "the slow ones are behind, that of several sandboxes too; the quick one is not")
        assert status["follower_count"] == 3 and status["followers"][2]["lag_lines"] == 0, "who is most behind comes first"
        for f in status["followers"]:
            assert f["sandbox"] in ("box", None) and f["sent_bytes"] > 0, f
        assert status["daemon"] == "gateway" and status["broker"] == "connected"
        assert status["configuration"]["listen"] == f"127.0.0.1:{s.port}"
        assert status["configuration"]["allow-origin"] == ["https://a.example", "https://b.example"], status["configuration"]
        for port, daemon in ((s.broker_port, "broker"), (s.collector_port, "collector")):
            shown = json.loads(s.request("GET", "/status", port=port)[2])
            assert shown["daemon"] == daemon and shown["version"] and shown["configuration"]["log-level"] == "info", shown
        slow.close()
        several.close()
        quick.close()


def a_broker_that_is_there_and_silent_is_told_of_within_5_seconds():
    """Ten seconds for the first answer and two of grace behind them: a stopped broker's readers heard nothing for 12.6 s."""
    with System() as s:
        Source(s, "box").write(3)
        s.has("box", 3)
        paths = (s.url("box", tail=1), s.url("box", follow=1, format="text"), "/v1/logs?sandbox=box", "/v1/logs?label=a%3Db", "/v1/sandboxes",
                 "/v1/sandboxes/box", "/containers/json", "/v1/export", "/v1/export/shop", "/v1/export/shop?follow=1")
        told = {}

        def ask(path, wave):
            began = time.monotonic()
            status, headers, body = s.get(path)
            told[path, wave] = status, headers["Retry-After"] or path.startswith("/cont"), body, time.monotonic() - began
        s.process["broker"].send_signal(signal.SIGSTOP)
        try:
            threads = [threading.Thread(target=ask, args=(path, wave)) for wave in ("first", "second") for path in paths]
            for i, t in enumerate(threads):
                if i == len(paths):
                    time.sleep(0.5)  # these lose their link to the first ones' patience, and once waited anew from there
                t.start()
            for t in threads:
                t.join()
            for which, (status, later, body, took) in told.items():
                assert status == 503 and later and took < 5 * PATIENCE, (which, told[which])
        finally:
            s.process["broker"].send_signal(signal.SIGCONT)
        until(lambda: s.get(s.url("box", tail=1))[0] == 200, 20, "it is back")


def bytes_of_a_reader_are_limited_and_shared():
    rate = 400_000
    with System(gateway=("--max-bytes-per-token", str(rate))) as s:
        source = Source(s, "box")
        while sum(len(text) + 1 for _, _, text in source.written) < 600_000:
            source.write(500)
        s.has("box", len(source.written))
        want = b"".join(text + b"\n" for _, _, text in source.written)
        assert s.text("box") == want, "which takes what was free"
        began, took, got = time.monotonic(), {}, {}

        def read(i):
            c = http.client.HTTPConnection("127.0.0.1", s.port, timeout=60 * PATIENCE)
            c.request("GET", s.url("box"))
            got[i] = c.getresponse().read() == want
            took[i] = time.monotonic() - began
        threads = [threading.Thread(target=read, args=(i,)) for i in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert got == dict.fromkeys(range(4), True), "nobody is refused, and nothing is missing"
        least = (4 * len(want) - 4 * 65536 - rate) / rate
        assert max(took.values()) > least, (took, least)
        assert min(took.values()) > 0.6 * max(took.values()), ("each has its share", took)
        paced = lambda: int(re.search(rb"^sandlog_gateway_paced_total (\d+)$", s.get("/metrics")[2], re.M)[1])
        before = paced()
        for _ in range(30):
            assert s.get("/healthz")[0] == 200 and s.get("/metrics")[0] == 200
        assert 0 < before == paced(), "what is open is not limited"


def systemd_is_told():
    """Type=notify, with a listener in its place: READY when requests are answered, RELOADING and READY again, STOPPING."""
    with System(start=False) as s:
        sockets = {}
        for name in ("broker", "gateway", "collector"):
            path = f"{s.dir}/{name}.notify"
            sockets[name] = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            sockets[name].bind(path)
            sockets[name].settimeout(20 * PATIENCE)
            os.environ["NOTIFY_SOCKET"] = path
            s.start(name)
            del os.environ["NOTIFY_SOCKET"]
        ports = {"broker": s.broker_port, "gateway": s.port, "collector": s.collector_port}
        for name, listener in sockets.items():
            assert listener.recv(1000) == b"READY=1", name
            assert s.probe(ports[name], "/healthz"), f"{name} said that it was ready"
        s.ready()
        for name, listener in sockets.items():
            s.process[name].send_signal(signal.SIGHUP)
            assert listener.recv(1000).startswith(b"RELOADING=1") and listener.recv(1000) == b"READY=1", name
        for name in ("collector", "gateway", "broker"):
            assert s.stop(name) == 0, name
            assert sockets[name].recv(1000) == b"STOPPING=1", name
            sockets[name].close()


def privileges_that_are_not_needed_are_given_up():
    """Of every thread, whoever starts the daemons; root keeps what opens files and binds ports."""
    bind, read, override = 1 << 10, 1 << 2, 1 << 1
    with System() as s:
        Source(s, "box").write(10)
        s.has("box", 10)
        s.text("box")
        for name, most in (("gateway", bind | read), ("collector", bind | read), ("broker", bind | read | override)):
            tasks = glob.glob(f"/proc/{s.process[name].pid}/task/*/status")
            assert len(tasks) > 1, name
            for task in tasks:
                with open(task) as f:
                    fields = dict(line.split(":\t") for line in f.read().splitlines() if ":\t" in line)
                assert fields["NoNewPrivs"] == "1", (name, task)
                for kind in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
                    assert int(fields[kind], 16) & ~most == 0, (name, kind, fields[kind])
                if os.geteuid() == 0:
                    assert int(fields["CapBnd"], 16) & ~most == 0, (name, fields["CapBnd"])


def the_units_are_sound_and_hardened():
    if not shutil.which("systemd-analyze"):
        print("   no systemd-analyze")
        return
    with System(start=False) as s:
        for name in ("broker", "gateway", "collector"):
            with open(glob.glob(f"{HERE}/../../{name}/sandlog-{name}.service")[0]) as f:
                unit = f.read().replace("/usr/bin/sandlog-", os.path.abspath(BIN) + "/sandlog-")
            path = f"{s.dir}/sandlog-{name}.service"
            with open(path, "w") as f:
                f.write(unit)
            assert "Type=notify" in unit and re.search(r"^ExecReload=.*-HUP", unit, re.M) and "NoNewPrivileges=yes" in unit, name
            r = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True)
            assert f"sandlog-{name}.service" not in r.stderr, r.stderr
            r = subprocess.run(["systemd-analyze", "security", "--offline=true", "--threshold=25", "--no-pager", path], capture_output=True, text=True)
            exposure = re.search(r"Overall exposure level for .*: (\S+)", r.stdout)
            assert r.returncode == 0 and exposure, (name, r.stdout[-2000:], r.stderr)
            print(f"   {name}: exposure {exposure[1]} of 10")


if __name__ == "__main__":
    main([metrics_of_all_three_are_prometheus_text, status_names_configuration_and_followers,
          a_broker_that_is_there_and_silent_is_told_of_within_5_seconds, bytes_of_a_reader_are_limited_and_shared, systemd_is_told,
          privileges_that_are_not_needed_are_given_up, the_units_are_sound_and_hardened])
