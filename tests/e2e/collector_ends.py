# SPDX-License-Identifier: Apache-2.0
"""When a sandbox is over, what it is labelled with, what is a gap, and what is not collected at all."""
import ctypes
import gzip
import json
import os
import random
import shutil
import time

from collector_direct import Direct, compare, in_background, write_steadily
from harness import SAMPLES, Source, Sse, System, main, rfc3339, until

AT_FDCWD, RENAME_EXCHANGE = -100, 2


def an_exit_code_ends_a_sandbox_after_its_last_line():
    with Direct() as s:
        for i in range(30):
            source = Source(s, f"short{i}")
            source.write(random.Random(i).randint(0, 300))
            source.exit(i)
            source.close()
        for i in range(30):
            s.stopped(f"short{i}")
            assert s.state(f"short{i}")["exit_code"] == i


def an_unterminated_last_line_is_kept():
    with Direct(["plain:LOGS/{sandbox}/console.log", "cri:LOGS/{sandbox}/{container}.cri", "docker:LOGS/{sandbox}/x.json"]) as s:
        os.mkdir(s.logs + "/a")
        with open(s.logs + "/a/console.log", "wb") as f:
            f.write(b"one\ntwo without newline")
        with open(s.logs + "/a/main.cri", "wb") as f:
            f.write(b"2026-11-20T20:42:04.1Z stdout F whole\n2026-11-20T20:42:04.2Z stderr F cut of")
        with open(s.logs + "/a/x.json", "wb") as f:
            f.write(b'{"log":"whole too\\n","stream":"stdout","time":"2026-11-20T20:42:04.3Z"}\n{"log":"cu')
        s.has("a", 3)
        with open(s.logs + "/a/exit_code", "w") as f:
            f.write("0\n")
        s.stopped("a")
        got = sorted((o["line"], o["stream"], o["partial"]) for o in s.lines("a"))
        assert got == sorted([(b"one", "stdout", False), (b"two without newline", "stdout", True),
                              (b"whole", "stdout", False), (b"cut of", "stderr", True),
                              (b"whole too", "stdout", False), (b'{"log":"cu', "stdout", True)]), got


def removed_files_end_a_sandbox():
    with Direct() as s:
        source = Source(s, "gone")
        source.write(1000)
        shutil.rmtree(s.logs + "/gone")
        s.stopped("gone")
        compare(source, s.lines("gone"), "removed")


def a_sandbox_that_comes_again_runs_again():
    with Direct() as s:
        for round in range(3):
            source = Source(s, "phoenix", seed=round)
            source.write(10)
            s.has("phoenix", 10 * (round + 1))
            until(lambda: s.state("phoenix")["state"] == 1, 10, "running")
            source.exit(round)
            s.stopped("phoenix")
            assert s.state("phoenix")["exit_code"] == round
            source.close()
            shutil.rmtree(s.logs + "/phoenix")
            until(lambda: s.metric("files ") == 0, 10, "all forgotten")


def docker_says_itself_when_it_is_over():
    with Direct(["docker:LOGS/{sandbox}/*-json.log"]) as s:
        folder, aside = s.logs + "/box", s.dir + "/aside"
        os.mkdir(aside)
        for name in os.listdir(SAMPLES + "/dockerd-rotated-gz"):
            if "json.log" in name:
                shutil.copy(f"{SAMPLES}/dockerd-rotated-gz/{name}", aside + "/" + name.replace("ID", "box"))
        os.rename(aside, folder)  # all at once: what comes later would be read later
        s.has("box", 500)
        assert s.state("box")["state"] == 1
        with open(SAMPLES + "/dockerd-rotated-gz/config.v2.json") as f:
            config = json.load(f)
        config["State"]["ExitCode"] = 3
        with open(folder + "/.tmp-config.v2.json", "w") as f:
            json.dump(config, f)
        os.rename(folder + "/.tmp-config.v2.json", folder + "/config.v2.json")
        s.stopped("box")
        state = s.state("box")
        assert state["exit_code"] == 3 and state["labels"]["team"] == "a" and state["labels"]["FOO"] == "bar", state
        numbers = [int(o["line"].split()[1]) for o in s.lines("box")]
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers))), "oldest first, none missing"
        assert len(numbers) > 800 and not s.gaps("box"), (len(numbers), s.gaps("box"), s.errors())
        count = len(numbers)
        s.restart("collector")
        s.up()
        time.sleep(0.5)
        assert s.count("box") == count, "nothing comes twice"


def a_stop_is_answered_when_everything_was_read():
    """The broker's notice, as the gateway's PUT causes it, is sent by the system's own gateway."""
    with Direct() as s:
        s.start("gateway")
        s.ready()
        source = Source(s, "busy")
        writer = in_background(write_steadily, [source], 5000, 2)
        s.has("busy", 100)
        time.sleep(0.5)
        s.put("busy", state="stopped", exit_code=9)
        s.stopped("busy", 5)
        writer.join()
        s.has("busy", len(source.written))
        compare(source, s.lines("busy"), "stopped by PUT while it is written")
        assert s.state("busy")["exit_code"] == 9


def a_deleted_sandbox_does_not_come_again_but_its_id_may():
    with Direct() as s:
        s.start("gateway")
        s.ready()
        old = Source(s, "box")
        old.write(100)
        s.has("box", 100)
        status, _, body = s.request("DELETE", "/v1/sandboxes/box")
        assert status < 300, (status, body)
        old.write(100)
        other = Source(s, "other")
        other.write(1)
        s.has("other", 1)
        s.restart("collector")
        s.up()
        old.write(1)
        old.exit(1)
        other.write(1)
        s.has("other", 2)
        time.sleep(0.3)
        assert s.state("box") is None, s.state("box")
        shutil.rmtree(s.logs + "/box")
        new = Source(s, "box", seed=2)
        new.write(10)
        s.has("box", 10)
        new.exit(2)
        s.stopped("box")
        compare(new, s.lines("box"), "the id used anew")
        assert s.state("box")["exit_code"] == 2


def a_damaged_gz_costs_its_rest():
    """What of it can be read is there, then a gap; the files after it come all the same, and a restart does not say it again."""
    with Direct() as s:
        os.mkdir(s.logs + "/box")
        texts = [f"{i:05d} {random.random()}" for i in range(4000)]
        record = lambda text: f"{rfc3339(int(text[:5]))} stdout F {text}\n".encode()
        packed = gzip.compress(b"".join(map(record, texts[:3000])))
        with open(s.logs + "/box/main.log.1.gz", "wb") as f:
            f.write(packed[: len(packed) // 2])
        with open(s.logs + "/box/main.log", "wb") as f:
            f.write(b"".join(map(record, texts[3000:3900])))
        until(lambda: any(o["line"].decode() == texts[3899] for o in s.lines("box")), 30, "what comes after it")
        for _ in range(2):
            got = [o["line"].decode() for o in s.lines("box")]
            whole = len(got) - 900
            assert 1000 < whole < 2000 and got[:whole - 1] == texts[:whole - 1], whole
            # a torn text is a piece, a torn head a malformed record, kept whole
            assert got[whole - 1] in record(texts[whole - 1]).decode(), (got[whole - 1], texts[whole - 1])
            assert got[-900:] == texts[3000:3900]
            assert s.gaps("box") == [{"event": "gap", "reason": "damaged", "next": whole + 1}], s.gaps("box")
            s.restart("collector")
            s.up()


def nothing_but_regular_files_below_the_root_is_opened():
    with Direct(["plain:LOGS/{sandbox}/*.log"]) as s:
        secret, twice = s.dir + "/secret", s.dir + "/twice"  # the one has one link, so that nothing but its place speaks against it
        for path in (secret, twice):
            with open(path, "w") as f:
                f.write("root:secret\n")
        os.mkdir(s.logs + "/bad")
        os.symlink(secret, s.logs + "/bad/link.log")
        os.link(twice, s.logs + "/bad/hard.log")
        os.mkfifo(s.logs + "/bad/fifo.log")
        os.mkdir(s.logs + "/bad/folder.log")
        outside = s.dir + "/outside"
        os.mkdir(outside)
        with open(outside + "/x.log", "w") as f:
            f.write("outside\n")
        os.symlink(outside, s.logs + "/linked")
        if os.geteuid() == 0:
            os.mknod(s.logs + "/bad/device.log", 0o600 | 0o020000, os.makedev(1, 5))
        with open(s.logs + "/bad/good.log", "w") as f:
            f.write("good\n")
        for name in ("..", "with space", "x" * 129):
            if name != "..":
                os.mkdir(f"{s.logs}/{name}")
                with open(f"{s.logs}/{name}/a.log", "w") as f:
                    f.write("never\n")
        s.has("bad", 1)
        until(lambda: s.metric("refused_files_total") >= 3 and s.metric("invalid_ids_total") >= 2, 5, "refusals counted")
        assert [o["line"] for o in s.lines("bad")] == [b"good"]
        assert s.state("linked") is None
        # a race: a file and a link to the secret change places all the time, so that one is looked at and the other opened
        names = [f"{s.logs}/bad/swap{i}.log".encode() for i in range(4)]
        for i, name in enumerate(names):
            with open(name, "w") as f:
                f.write("mine\n")
            os.symlink(secret, name + b"+")
        exchange, stop = ctypes.CDLL(None).renameat2, time.monotonic() + 2
        while time.monotonic() < stop:
            for name in names * 50:
                assert exchange(AT_FDCWD, name, AT_FDCWD, name + b"+", RENAME_EXCHANGE) == 0
            with open(s.dir + "/new", "w") as f:  # the one that is known is not opened again
                f.write("mine\n")
            os.rename(s.dir + "/new", name)
        with open(s.logs + "/bad/good.log", "a") as f:
            f.write("last\n")
        until(lambda: b"last" in {o["line"] for o in s.lines("bad")}, 20, "what came after the race")
        text = {o["line"] for o in s.lines("bad")}
        assert text <= {b"good", b"mine", b"last"}, text


def any_bytes_come_through_exactly():
    with Direct(["cri:LOGS/{sandbox}/{container}.log", "plain:LOGS/{sandbox}/console", "docker:LOGS/{sandbox}/x.json"],
                ["--max-line-bytes", "64KiB"]) as s:
        dice = random.Random(3)
        texts = [b"", b"\r", b"a\rb\r", b"\0", b"nul \0 in it", b"\xff\xfe\x80", b"data: x", b"\x1b[31mred", bytes(range(256)).replace(b"\n", b""),
                 b"x" * 5_000_000, b"y" * 65536, b"z" * 65537, b""]
        texts += [bytes(dice.choice(b"ab \r\t\0\xc3\xa4") for _ in range(dice.randint(0, 300))) for _ in range(500)]
        os.mkdir(s.logs + "/c"), os.mkdir(s.logs + "/p"), os.mkdir(s.logs + "/d")
        with open(s.logs + "/c/main.log", "wb") as f:
            for i, t in enumerate(texts):
                f.write(rfc3339(i).encode() + b" stdout F " + t + b"\n")
                if i % 7 == 0:  # in pieces, the other stream between them
                    f.write(rfc3339(i).encode() + b" stdout P " + t + b"\n")
                    f.write(rfc3339(i).encode() + b" stderr F:tag:x between\n")
                    f.write(rfc3339(i + 1).encode() + b" stdout F tail\n")
            f.write(b"this is no record\n")
        with open(s.logs + "/p/console", "wb") as f:
            f.write(b"".join(t + b"\n" for t in texts))
        unicode_texts = [t.decode("utf-8", "replace") for t in texts] + ["\U0001f600 \u2028 \ud83d lone"]
        with open(s.logs + "/d/x.json", "wb") as f:
            for t in unicode_texts:
                f.write(json.dumps({"time": rfc3339(1), "log": t + "\n", "stream": "stderr"}).encode() + b"\n")

        def joined(sandbox, stream=None):
            whole, pending = [], b""
            for o in s.lines(sandbox):
                assert len(o["line"]) <= 65536
                if stream is None or o["stream"] == stream:
                    pending += o["line"]
                    if not o["partial"]:
                        whole.append(pending)
                        pending = b""
            return whole + ([pending] if pending else [])
        want = []
        for i, t in enumerate(texts):
            want.append(t)
            if i % 7 == 0:
                want.append(t + b"tail")
        want.append(b"this is no record")
        until(lambda: joined("c", "stdout")[-1:] == [b"this is no record"], 20, "cri")
        assert joined("c", "stdout") == want
        assert joined("c", "stderr") == [b"between"] * ((len(texts) + 6) // 7)
        until(lambda: len(joined("p")) == len(texts), 20, "plain")
        assert joined("p") == texts
        until(lambda: len(joined("d")) == len(unicode_texts), 20, "docker")
        for have, t in zip(joined("d"), unicode_texts):
            assert have == t.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode(), (have[:80], t[:80])
        until(lambda: s.metric("malformed_records_total") == 1, 5, "one malformed record")
        before = [s.count(x) for x in "cpd"]
        s.restart("collector")
        s.up()
        time.sleep(0.5)
        assert [s.count(x) for x in "cpd"] == before, "nothing comes twice"


def folders_come_and_go_at_every_level():
    with Direct(["plain:LOGS/deep/{sandbox}/a/{container}/*.log"]) as s:
        time.sleep(0.3)
        os.makedirs(s.logs + "/deep/one/a/c")
        with open(s.logs + "/deep/one/a/c/x.log", "w") as f:
            f.write("1\n")
        s.has("one", 1)
        shutil.rmtree(s.logs + "/deep")
        s.stopped("one")
        os.makedirs(s.logs + "/deep/two/a/c")
        with open(s.logs + "/deep/two/a/c/x.log", "w") as f:
            f.write("2\n")
        s.has("two", 1)
        assert s.lines("two")[0]["container"] == "c"


def a_collector_without_broker_keeps_trying():
    with Direct(start=False) as s:
        s.start("collector")
        source = Source(s, "early")
        source.write(100)
        until(lambda: s.probe(s.collector_port, "/healthz"), 10, "it lives")
        status, _, body = s.request("GET", "/readyz", port=s.collector_port)
        assert status == 503 and b"broker" in body, (status, body)
        time.sleep(1.5)
        s.start("broker")
        s.has("early", 100)
        s.up()
        with open(s.dir + "/collector.err") as f:
            assert sum("broker." in line for line in f) <= 3, "one line per change"


def files_removed_while_no_collector_was_there_are_noticed():
    """A host that was rebooted has none of its containers' files any more."""
    with System() as s:
        gone, stays = Source(s, "gone"), Source(s, "stays")
        for source in (gone, stays):
            source.write(50)
        s.has("gone", 50)
        s.has("stays", 50)
        s.put("elsewhere", state="running")  # of no host
        follower = Sse(s.port, s.url("gone", follow=1, data="json"))
        follower.wait(50)
        s.kill("collector")
        shutil.rmtree(f"{s.logs}/gone")
        s.start("collector")
        follower.wait_end(60)
        assert follower.ended["reason"] == "stopped" and s.info("gone")["state"] == "stopped"
        objects = s.lines("gone")
        assert [o.get("reason") for o in objects if "event" in o] == ["source-vanished"], objects[-3:]
        assert len(objects) == 51
        stays.write(5)
        s.has("stays", 55)
        assert s.info("stays")["state"] == s.info("elsewhere")["state"] == "running"
        assert not [o for o in s.lines("stays") if "event" in o]
        # and the id may be used anew
        os.makedirs(f"{s.logs}/gone")
        again = Source(s, "gone")
        again.write(5)
        s.has("gone", 55)
        until(lambda: s.info("gone")["state"] == "running", 20, "it runs again")


if __name__ == "__main__":
    main([an_exit_code_ends_a_sandbox_after_its_last_line, an_unterminated_last_line_is_kept, removed_files_end_a_sandbox,
          a_sandbox_that_comes_again_runs_again, docker_says_itself_when_it_is_over,
          a_stop_is_answered_when_everything_was_read,
          a_deleted_sandbox_does_not_come_again_but_its_id_may,
          a_damaged_gz_costs_its_rest, nothing_but_regular_files_below_the_root_is_opened, any_bytes_come_through_exactly,
          folders_come_and_go_at_every_level,
          files_removed_while_no_collector_was_there_are_noticed, a_collector_without_broker_keeps_trying])
