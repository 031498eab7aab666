# SPDX-License-Identifier: Apache-2.0
"""The links between the daemons: what collectors and gateways prove themselves with (mutual TLS, a secret), that others are
refused in one clear line, and that a reload takes new files without a restart and lets go who does not have them."""
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from harness import BIN, Source, Sse, System, free_port, main, skip, until


def make_certificates(folder):
    run = lambda *a: subprocess.run(a, check=True, capture_output=True, cwd=folder)
    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    for ca in ("ca", "other-ca"):
        run("openssl", "req", "-x509", *new, "-keyout", f"{ca}.key", "-out", f"{ca}.pem", "-days", "2", "-subj", f"/CN={ca}")
    for name, ca, subject in (("broker", "ca", "localhost"), ("peer", "ca", "peer"), ("foreign", "other-ca", "peer"), ("broker2", "other-ca", "localhost")):
        run("openssl", "req", *new, "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={subject}", "-addext", f"subjectAltName=DNS:{subject}")
        run("openssl", "x509", "-req", "-in", f"{name}.csr", "-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-days", "2",
            "-out", f"{name}.pem", "-copy_extensions", "copy")


class TlsSystem(System):
    """All links over tls+tcp, the broker asking for certificates."""

    def __init__(self):
        super().__init__(start=False)
        if not shutil.which("openssl"):
            skip("no openssl on this machine")
        make_certificates(self.dir)
        self.ingest, self.query = f"tls+tcp://localhost:{free_port()}", f"tls+tcp://localhost:{free_port()}"
        self.files = {"broker": ("ca", "broker"), "gateway": ("ca", "peer"), "collector": ("ca", "peer")}

    def flags(self, ca, cert):
        return ["--link-ca", f"{self.dir}/{ca}.pem"] + (["--link-cert", f"{self.dir}/{cert}.pem", "--link-key", f"{self.dir}/{cert}.key"] if cert else [])

    def command(self, name):
        replaced = {f"ipc://{self.dir}/ingest.sock": self.ingest, f"ipc://{self.dir}/query.sock": self.query}
        return [replaced.get(word, word) for word in super().command(name)] + self.flags(*self.files[name])

    def error_lines(self, name, event):
        with open(f"{self.dir}/{name}.err") as f:
            return [line for line in f if f"event={event}" in line]


def mutual_tls_lets_in_who_has_a_certificate():
    with TlsSystem() as s:
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.ready(20)
        source = Source(s, "box")
        source.write(2000)
        s.has("box", 2000)
        assert s.text("box") == b"".join(text + b"\n" for _, _, text in source.written)


def others_are_refused_in_one_clear_line():
    with TlsSystem() as s:
        s.start("broker")
        until(lambda: s.probe(s.broker_port), 10, "the broker listens")
        for ca, cert, words in (("ca", None, "asks for a certificate (--link-cert)"), ("ca", "foreign", "the certificates do not fit"),
                                ("other-ca", "peer", "the certificates do not fit")):
            s.files["gateway"] = (ca, cert)
            s.start("gateway")
            try:
                until(lambda: any(words in line for line in s.error_lines("gateway", "broker.away")), 20, f"{ca} {cert}: {words}\n" + s.errors())
            finally:
                assert not s.probe(s.port), (ca, cert)
                s.kill("gateway")
            assert len(s.error_lines("gateway", "broker.away")) <= 2, s.errors()  # the first may be of before the broker listened
            os.unlink(f"{s.dir}/gateway.err")
        until(lambda: s.error_lines("broker", "link.refused"), 10, "the broker says so too")
        assert b"sandlog_broker_link_refused_total 0\n" not in s.request("GET", "/metrics", port=s.broker_port)[2]
        # A peer without TLS gets no further than that, and takes nothing from the others.
        with socket.create_connection(("localhost", int(s.query.rsplit(":", 1)[1]))) as plain:
            plain.sendall(b"\0SP\0\0\x30\0\0")
            plain.settimeout(10)
            try:
                while plain.recv(1000):
                    pass
            except (ConnectionResetError, TimeoutError):
                pass
            s.files["gateway"] = ("ca", "peer")
            s.start("gateway")
            until(lambda: s.probe(s.port), 20, "the right one is let in")


def a_reload_takes_new_certificates_and_lets_old_ones_go():
    with TlsSystem() as s:
        for name in ("broker", "gateway", "collector"):
            s.start(name)
        s.ready(20)
        source = Source(s, "box")
        source.write(100)
        s.has("box", 100)
        sse = Sse(s.port, s.url("box", follow=1))
        sse.wait(100)
        # The authority is replaced on the broker's side: the two peers, who still have the old one, are let go.
        path = lambda name: f"{s.dir}/{name}"
        for a, b in (("other-ca.pem", "ca.pem"), ("broker2.pem", "broker.pem"), ("broker2.key", "broker.key")):
            shutil.copy(path(b), path("was-" + b))
            shutil.copy(path(a), path(b))
        s.process["broker"].send_signal(signal.SIGHUP)
        until(lambda: not s.probe(s.port) and not s.probe(s.collector_port), 20, "old certificates are void")
        source.write(50)
        for a, b in (("foreign.pem", "peer.pem"), ("foreign.key", "peer.key")):
            shutil.copy(path(a), path(b))
        for name in ("gateway", "collector"):
            s.process[name].send_signal(signal.SIGHUP)
        s.ready(30)
        s.has("box", 150)
        sse.wait(150)
        assert [e[2] for e in sse.logs()] == [text.decode() for _, _, text in source.written], "the follower saw a pause, nothing else"
        # What can't be read changes nothing.
        with open(path("peer.pem"), "w") as f:
            f.write("no certificate")
        s.process["gateway"].send_signal(signal.SIGHUP)
        until(lambda: s.error_lines("gateway", "reload.failed"), 10, "told")
        assert "--link-cert" in s.error_lines("gateway", "reload.failed")[-1] and s.probe(s.port)


def a_reload_takes_a_new_secret_and_lets_the_old_one_go():
    with System(start=False) as s:
        secret = f"{s.dir}/secret"
        write = lambda text: open(secret, "w").write(text) and None
        write("the first secret\n")
        for name in ("broker", "gateway", "collector"):
            s.extra[name] = ["--secret", secret]
            s.start(name)
        s.ready()
        source = Source(s, "box")
        source.write(10)
        s.has("box", 10)
        sse = Sse(s.port, s.url("box", follow=1))
        sse.wait(10)
        write("the second secret\n")
        s.process["broker"].send_signal(signal.SIGHUP)
        until(lambda: not s.probe(s.port) and not s.probe(s.collector_port), 10, "the old secret is void")
        source.write(10)
        for name in ("gateway", "collector"):
            s.process[name].send_signal(signal.SIGHUP)
        s.ready(10)
        sse.wait(20)
        assert [e[2] for e in sse.logs()] == [text.decode() for _, _, text in source.written]
        # Peers first, then the broker: nobody is ever refused.
        write("the third secret\n")
        for name in ("gateway", "collector", "broker"):
            s.process[name].send_signal(signal.SIGHUP)
            until(lambda: open(f"{s.dir}/{name}.err").read().count("what=link-keys") >= 2, 10, f"{name} has reloaded")
        source.write(10)
        s.ready()
        sse.wait(30)
        text = s.errors()
        assert "the first secret" not in text and "the second secret" not in text and "the third secret" not in text
        # An empty file is said and changes nothing.
        write("\n")
        s.process["broker"].send_signal(signal.SIGHUP)
        until(lambda: re.search(r"reload\.failed.*is empty", s.errors()), 10, "told")
        assert s.probe(s.port)


def a_connection_cut_while_it_begins_does_not_make_the_broker_deaf():
    """The story: after two reloads in a row the broker ran and nobody could reach it. nng 1.5.2 stops accepting on an ipc socket when a
    peer closes while it is being negotiated; so did a collector that was killed at the wrong moment."""
    for tcp in (False, True):
        with System(start=False) as s:
            query = f"tcp://127.0.0.1:{free_port()}"
            command = s.command
            if tcp:
                s.command = lambda name: [query if word == f"ipc://{s.dir}/query.sock" else word for word in command(name)]
            s.start("broker")
            until(lambda: s.probe(s.broker_port), 10, "the broker listens")
            for data in (b"", b"\0SP", b"\0SP\0\0\x30\0\0", b"GET / HTTP/1.1\r\n\r\n"):
                for _ in range(25):
                    with socket.socket(socket.AF_INET if tcp else socket.AF_UNIX) as c:
                        address = ("127.0.0.1", int(query.rsplit(":", 1)[1])) if tcp else f"{s.dir}/query.sock"
                        until(lambda: c.connect_ex(address) == 0, 10, "it listens: the listener may just be replaced")
                        if data:
                            c.sendall(data)
                s.start("gateway")
                until(lambda: s.probe(s.port), 10, f"the broker hears, after {data}")
                s.kill("gateway")


def a_peer_that_goes_takes_no_other_along():
    """The story: nng counts the end of a connection as it counts one that never began; the listener was replaced for it, and all
    peers of the broker were let go each second in which one of them went."""
    with System() as s:
        stop = time.monotonic() + 4
        while time.monotonic() < stop:
            with socket.socket(socket.AF_UNIX) as c:
                c.connect(f"{s.dir}/query.sock")
                c.sendall(b"\0SP\0\0\x30\0\0")
                c.recv(8)
            time.sleep(0.05)
        with open(f"{s.dir}/gateway.err") as f:
            assert "broker.away" not in f.read()


def what_is_missing_is_one_clear_line():
    with TlsSystem() as s:
        def refusal(name, *flags):
            r = subprocess.run([f"{BIN}/sandlog-{name}", *flags, "--http" if name != "gateway" else "--listen", "127.0.0.1:0"], capture_output=True,
                               text=True, timeout=20, cwd=s.dir)
            assert r.returncode == 2 and r.stderr.count("\n") == 1, (name, flags, r)
            return r.stderr
        tls = ("--broker", "tls+tcp://localhost:1")
        assert "needs --link-ca" in refusal("gateway", *tls)
        assert "needs --link-ca" in refusal("collector", *tls, "--watch", "plain:/nowhere/{sandbox}.log")
        assert "needs --link-cert and --link-key" in refusal("broker", "--data", "data", "--ingest", "tls+tcp://localhost:0")
        assert "come together" in refusal("gateway", *tls, "--link-ca", "ca.pem", "--link-cert", "peer.pem")
        assert "--link-ca nothing.pem: No such file" in refusal("gateway", *tls, "--link-ca", "nothing.pem")
        assert "--link-ca peer.key: holds no certificates" in refusal("gateway", *tls, "--link-ca", "peer.key")
        assert "--link-cert peer.pem: can't be used" in refusal("gateway", *tls, "--link-ca", "ca.pem", "--link-cert", "peer.pem", "--link-key", "foreign.key")


if __name__ == "__main__":
    main([mutual_tls_lets_in_who_has_a_certificate, others_are_refused_in_one_clear_line, a_reload_takes_new_certificates_and_lets_old_ones_go,
          a_reload_takes_a_new_secret_and_lets_the_old_one_go, a_connection_cut_while_it_begins_does_not_make_the_broker_deaf,
          a_peer_that_goes_takes_no_other_along, what_is_missing_is_one_clear_line])
