# SPDX-License-Identifier: Apache-2.0
"""A full disk, seen from outside: nothing is acknowledged, what is stored is read as before, /readyz says why, and with room it goes on by
itself; no line is lost or doubled. A tmpfs; needs root."""
import base64
import os
import subprocess

from harness import Source, System, check, main, make_line, skip, until

DISK_MIB = 24


class Small(System):
    """Its store has a small disk of its own."""

    def __init__(self, **more):
        super().__init__(start=False, **more)
        self.disk = self.dir + "/data"
        os.mkdir(self.disk)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "sandlog-full", self.disk], capture_output=True).returncode != 0:
            super().close()
            skip("needs root and tmpfs")
        try:
            for name in ("broker", "gateway", "collector"):
                self.start(name)
            self.ready()
        except BaseException:
            self.close()
            raise

    def close(self):
        for p in self.process.values():
            p.kill()
            p.wait()
        subprocess.run(["umount", self.disk], check=True)
        super().close()

    def fill(self):
        with open(self.disk + "/ballast", "wb", buffering=0) as f:
            for piece in (1 << 20, 4096):
                try:
                    while True:
                        f.write(bytes(piece))
                except OSError:
                    pass

    def free(self):
        os.unlink(self.disk + "/ballast")


class Long(Source):
    """Fills a segment soon, whose room was taken beforehand: LZ4 finds nothing in it."""
    soup = base64.b64encode(os.urandom(1 << 20))

    def make(self, stream, bytes_wanted=None):
        at = self.random.randrange(len(self.soup) - 2000)
        return make_line(self.sandbox, self.container, stream, len(self.written), self.last_ns, self.soup[at:at + 2000])


def a_full_disk_is_said_and_read_and_heals():
    with Small(broker=("--segment-bytes", "4MiB")) as s:
        source = Long(s, "box")
        for turn in range(2):
            source.write(500)
            s.has("box", len(source.written))
            check([source], s.lines("box"), "before")
            s.fill()

            def refused():
                source.write(300)
                return s.request("GET", "/readyz", port=s.broker_port)[0] == 503
            until(refused, 30, "/readyz says that the disk is full")
            body = s.request("GET", "/readyz", port=s.broker_port)[2]
            assert b"disk" in body or b"room" in body or b"space" in body, body
            assert s.probe(s.broker_port, "/healthz") and s.process["broker"].poll() is None
            stored = s.info("box")["lines"]
            assert 500 <= stored < len(source.written), (stored, len(source.written))
            texts = [t for _, _, t in source.written]
            assert s.text("box") == b"".join(t + b"\n" for t in texts[:stored]), "what is stored is read"
            assert s.text("box", tail=10) == b"".join(t + b"\n" for t in texts[stored - 10:stored])
            if turn == 1:  # what was acknowledged is there, whatever ends the broker now
                s.kill("broker")
                s.free()
                s.start("broker")
            else:
                s.free()
            until(lambda: s.probe(s.broker_port), 20, "/readyz is well again, without a hand")
            s.has("box", len(source.written), 30)
            check([source], s.lines("box"), "healed")
        assert not [o for o in s.lines("box") if o.get("event") == "gap"]


if __name__ == "__main__":
    main([a_full_disk_is_said_and_read_and_heals])
