# SPDX-License-Identifier: Apache-2.0
"""`sandlog export` into a real ClickHouse (Debian's 18.16), started here on loopback with a configuration and a folder of its own:
what becomes of every byte, of tables that are there already, of wrong passwords; and of every line while the exporter, the
daemons and ClickHouse itself are killed with -9 at random moments. `--lines N --sandboxes N` for another size than ctest's."""
import glob
import os
import re
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request

from cli_export import Exporter, finish, lines, start
from export_files import Export, Ledger, SIZE, compare, trouble
from harness import PATIENCE, System, free_port, line_bytes, main, skip, until

CONFIG = """<?xml version="1.0"?>
<yandex>
 <logger><level>warning</level><log>{dir}/log</log><errorlog>{dir}/err</errorlog></logger>
 <http_port>{port}</http_port><tcp_port>{tcp}</tcp_port><listen_host>127.0.0.1</listen_host>
 <path>{dir}/data/</path><tmp_path>{dir}/tmp/</tmp_path><mark_cache_size>67108864</mark_cache_size>
 <users_config>{dir}/users.xml</users_config><default_profile>default</default_profile><default_database>default</default_database>
 <timezone>America/New_York</timezone>
</yandex>"""
USERS = """<?xml version="1.0"?>
<yandex>
 <profiles><default><max_memory_usage>4000000000</max_memory_usage></default></profiles>
 <users>
  <default><password></password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></default>
  <writer><password>geh/eim</password><networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota></writer>
 </users>
 <quotas><default/></quotas>
</yandex>"""


class ClickHouse:
    def __init__(self):
        self.program = shutil.which("clickhouse-server")
        if not self.program:
            skip("no clickhouse-server on this machine")
        self.dir = tempfile.mkdtemp(prefix="sandlog-clickhouse-")
        self.port = free_port()
        for name, text in ("config.xml", CONFIG.format(dir=self.dir, port=self.port, tcp=free_port())), ("users.xml", USERS):
            with open(f"{self.dir}/{name}", "w") as f:
                f.write(text)
        os.mkdir(self.dir + "/data")
        os.mkdir(self.dir + "/tmp")
        self.start()

    def start(self):
        self.process = subprocess.Popen([self.program, f"--config-file={self.dir}/config.xml"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.wait()

    def wait(self):
        def answers():
            if self.process.poll() is not None:
                with open(self.dir + "/err", errors="replace") as f:
                    text = f.read()[-2000:]
                if "SSE 4.2" in text:
                    skip("this machine's CPU does not run clickhouse-server")
                raise AssertionError("clickhouse-server ended: " + text)
            try:
                return urllib.request.urlopen(f"http://127.0.0.1:{self.port}/", timeout=5).read() == b"Ok.\n"
            except OSError:
                return False
        until(answers, 60, "clickhouse-server answers")

    def restart(self):
        self.process.kill()
        self.process.wait()
        self.start()

    def query(self, sql):
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/", sql.encode())
        try:
            return urllib.request.urlopen(request, timeout=600).read()
        except urllib.error.HTTPError as e:
            raise AssertionError(f"{sql}: {e.read()!r}")

    def number(self, sql):
        return int(self.query(sql))

    def url(self, table, login=""):
        return f"http://{login}127.0.0.1:{self.port}/{table}"

    def close(self):
        self.process.kill()
        self.process.wait()
        if not os.environ.get("SANDLOG_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *args):
        self.close()


def the_table_is_made_and_holds_every_byte_time_and_label():
    import base64
    soup = bytes(range(256)) + b"\xc3\xa9\xe2\x82 \xf0\x9f\x98\x80 \\N \\\" {}"
    records = [
        {"sandbox": "a:b", "seq": 1, "time": "2026-02-20T14:30:00.123456789Z", "stream": "stderr", "container": "main", "line": "?",
         "raw": base64.b64encode(soup).decode()},
        {"sandbox": "a:b", "seq": 2, "time": "1969-12-31T23:59:59.000000001Z", "stream": "stdout", "container": "side", "line": "", "partial": True},
        {"sandbox": "a:b", "seq": 3, "time": "2262-01-01T00:00:00.000000000Z", "stream": "stdout", "container": "main", "line": "late"},
        {"event": "gap", "sandbox": "a:b", "from_seq": 3, "to_seq": 9, "lines": 5, "reason": "retention"},
        # deleted, and the id used anew: number 1 again, in another life
        {"sandbox": "a:b", "seq": 1, "time": "2026-02-20T14:30:00.123456789Z", "stream": "stdout", "container": "main", "line": "anew", "life": "2"},
    ]
    server = Exporter(records)
    with ClickHouse() as ch:
        for _ in range(2):  # the second time everything comes once more
            code, err = finish(start(server, ch.url("logs.lines"), "--once"))
            assert code == 0 and "exported 4 lines" in err and "1 gap, where at least 5 are missing" in err, (code, err)
            server.places.clear()
        assert ch.number("SELECT count() FROM logs.lines") > 4
        rows = ch.query("SELECT hex(Body), toString(TimestampNs), toUInt32(Timestamp), ServiceName, Life, Seq, Stream, Container, Partial, "
                        "ResourceAttributes.Key, ResourceAttributes.Value FROM logs.lines FINAL ORDER BY Life, Seq").decode().splitlines()
        rows = [r.split("\t") for r in rows]
        assert len(rows) == 4, rows
        assert bytes.fromhex(rows[0][0]) == soup
        assert rows[0][1:] == ["1771597800123456789", "1771597800", "a:b", "1", "1", "stderr", "main", "0", "['host.name','team']", "['h','blue']"], rows[0]
        assert rows[1][:9] == ["", "-999999999", "0", "a:b", "1", "2", "stdout", "side", "1"], rows[1]
        assert rows[2][1:3] == ["9214646400000000000", "4291747199"], rows[2]
        assert bytes.fromhex(rows[3][0]) == b"anew" and rows[3][4:6] == ["2", "1"], rows[3]
    server.close()


def what_does_not_fit_is_told_in_one_line_and_no_password_is_said():
    server = Exporter(lines(5))
    with ClickHouse() as ch:
        def refused(to, *words, **env):
            code, err = finish(start(server, to, "--once", **env))
            assert code == 1 and err.count("\n") == 1 and all(w in err for w in words), (code, err)
            assert "geh" not in err and "falsch" not in err, err

        ch.query("CREATE TABLE default.other (Timestamp DateTime, Body UInt8) ENGINE = MergeTree ORDER BY Body")
        refused(ch.url("default.other"), "default.other has other columns", "Body is UInt8, not String", "Seq is missing")
        columns = ("(Timestamp DateTime, TimestampNs Int64, ServiceName String, Life String, Body String, `ResourceAttributes.Key` Array(String), "
                   "`ResourceAttributes.Value` Array(String), Seq UInt64, Stream String, Container String, Partial UInt8)")
        ch.query(f"CREATE TABLE default.plain {columns} ENGINE = MergeTree ORDER BY (ServiceName, Life, Seq)")
        refused(ch.url("default.plain"), "default.plain is no ReplacingMergeTree")
        ch.query(f"CREATE TABLE default.short {columns} ENGINE = ReplacingMergeTree ORDER BY (ServiceName, Seq)")
        refused(ch.url("default.short"), "is not ordered by ServiceName, Life and Seq")
        refused(ch.url("default.fits", "writer:falsch@"), "Wrong password for user writer")
        refused(ch.url("default.fits"), "Wrong password", CLICKHOUSE_USER="writer", CLICKHOUSE_PASSWORD="falsch")
        ch.query(f"CREATE TABLE default.fits {columns} ENGINE = ReplacingMergeTree ORDER BY (ServiceName, Life, Seq)")
        code, err = finish(start(server, ch.url("default.fits", "writer:geh%2feim@"), "--once"))
        assert code == 0 and "geh" not in err, (code, err)
        # whatever zone the server or the table is in: what a time stands for is the same
        assert ch.number("SELECT min(toUInt32(Timestamp) = intDiv(TimestampNs, 1000000000)) FROM default.fits") == 1
        server.places.clear()
        code, err = finish(start(server, ch.url("default.fits"), "--once", CLICKHOUSE_USER="writer", CLICKHOUSE_PASSWORD="geh/eim"))
        assert code == 0 and ch.number("SELECT count() FROM default.fits FINAL") == 5, (code, err)
    server.close()


def a_server_that_is_away_is_waited_for_and_a_dropped_table_comes_again():
    server = Exporter(lines(500))
    with ClickHouse() as ch:
        ch.process.kill()
        ch.process.wait()
        process = start(server, ch.url("default.lines"))
        line = process.stderr.readline()
        assert "cannot reach ClickHouse" in line and "trying again" in line, line
        ch.start()
        until(lambda: server.places["archive"] == 500, 60, "all is exported")
        ch.query("DROP TABLE default.lines")
        server.records += [dict(r, seq=r["seq"] + 10000) for r in lines(200)]
        until(lambda: server.places["archive"] == 700, 60, "all is exported")
        assert ch.number("SELECT count() FROM default.lines") == 200
        process.terminate()
        code, err = finish(process)
        assert code == 0 and "doesn't exist; trying again" in err and "going on" in err, (code, err)
    server.close()


def tables_hold_every_line_once_whatever_is_killed():
    with ClickHouse() as ch, System() as system:
        ledger = Ledger(system.logs, SIZE)
        export = Export(system, ch.url("logs.lines"), *(["--batch-age", "200ms"] if SIZE.lines < 1000000 else []))
        sums = ("SELECT ServiceName, count(), sum(reinterpretAsUInt64(substring(MD5(concat(toString(Seq), ':', Body)), 1, 8))) "
                "FROM logs.{} {} GROUP BY ServiceName")
        have = lambda table, final: {r.split("\t")[0]: (int(r.split("\t")[1]), int(r.split("\t")[2]))
                                     for r in ch.query(sums.format(table, final)).decode().splitlines()}
        try:
            kills = trouble(system, ledger, export, ["export"] * 4 + ["clickhouse", "broker", "gateway", "collector"], SIZE.seed, {"clickhouse": ch.restart})
            export.drain(60 + SIZE.lines / 20000)
            raw = ch.number("SELECT count() FROM logs.lines")
            compare(ledger.source(), have("lines", "FINAL"))
            print(f"   {SIZE.lines} lines of {SIZE.sandboxes} sandboxes, killed {dict(kills)}, {export.starts} starts; {raw} rows before they are merged")
            hunted = Export(system, ch.url("logs.hunted"), "--batch-bytes", "50KiB" if SIZE.lines < 1000000 else "4MiB", consumer="hunted")
            times = hunted.hunted(SIZE.seed, 0.2 if SIZE.lines < 1000000 else 3)
            raw = ch.number("SELECT count() FROM logs.hunted")
            compare(ledger.source(), have("hunted", "FINAL"))
            assert times > 0
            print(f"   and killed {times} times on a second way from start to end; {raw} rows before they are merged")
        finally:
            export.kill()


if __name__ == "__main__":
    main([the_table_is_made_and_holds_every_byte_time_and_label, what_does_not_fit_is_told_in_one_line_and_no_password_is_said,
          a_server_that_is_away_is_waited_for_and_a_dropped_table_comes_again, tables_hold_every_line_once_whatever_is_killed])
