# SPDX-License-Identifier: Apache-2.0
"""The command against a real gateway: over TLS, with the certificates of --ca-file; and several sandboxes by their labels."""
import os
import resource
import shutil
import subprocess
import tempfile

from harness import BIN, PATIENCE, Source, System, main, skip, until

SANDLOG = os.path.join(BIN, "sandlog")


def sandlog(url, *args, seconds=30):
    env = {k: v for k, v in os.environ.items() if not k.startswith("SANDLOG_")}
    p = subprocess.run([SANDLOG, *args, "--server", url], env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                       timeout=seconds * PATIENCE)
    return p.returncode, p.stdout, p.stderr.decode()


def certificate(folder, name, san):
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=" + name,
                    "-addext", "subjectAltName=" + san, "-keyout", f"{folder}/{name}.key", "-out", f"{folder}/{name}.pem"], check=True, stderr=subprocess.DEVNULL)
    return f"{folder}/{name}.pem", f"{folder}/{name}.key"


def https_wants_a_certificate_that_is_trusted():
    if not shutil.which("openssl"):
        skip("no openssl on this machine")
    with tempfile.TemporaryDirectory(prefix="sandlog-tls-") as folder:
        mine, key = certificate(folder, "mine", "IP:127.0.0.1")
        other, _ = certificate(folder, "other", "IP:127.0.0.1")
        with System(gateway=["--tls-cert", mine, "--tls-key", key], start=False) as s:
            url, plain = f"https://127.0.0.1:{s.port}", f"http://127.0.0.1:{s.port}"
            for name in ("broker", "gateway", "collector"):
                s.start(name)
            until(lambda: sandlog(url, "ps", "--ca-file", mine)[0] == 0, 20, "the gateway answers over TLS")
            source = Source(s, "boxed")
            source.write(200)
            source.exit(0)
            want = b"".join(text + b"\n" for _, _, text in source.written)
            until(lambda: sandlog(url, "logs", "boxed", "--ca-file", mine)[1] == want, 20, "all lines over TLS")
            assert sandlog(url, "logs", "-f", "boxed", "--ca-file", mine) == (0, want, "")
            code, _, err = sandlog(url, "export", "tls", "--to", folder + "/out", "--once", "--ca-file", mine)
            assert code == 0 and "exported 200 lines" in err, (code, err)
            for args in (["logs", "boxed"], ["ps"], ["export", "tls", "--to", folder + "/out", "--once"]):
                for more in ([], ["--ca-file", other]):
                    code, out, err = sandlog(url, *args, *more)
                    assert code == 1 and out == b"" and err.count("\n") == 1 and "its certificate is not trusted (see --ca-file)" in err, (args, more, code, out, err)
            code, _, err = sandlog(f"https://localhost:{s.port}", "ps", "--ca-file", mine)
            assert code == 1 and "certificate" in err, (code, err)
            code, _, err = sandlog(url, "ps", "--ca-file", folder + "/nothing")
            assert code == 2 and err == f"sandlog: --ca-file {folder}/nothing: no such file or directory\n", (code, err)
            code, _, err = sandlog(plain, "ps")
            assert code == 1 and err.count("\n") == 1, (code, err)
            code, _, err = sandlog(f"https://127.0.0.1:{s.broker_port}", "ps", "--ca-file", mine)
            assert code == 1 and err.count("\n") == 1, (code, err)


def labels_are_all_to_match():
    with System() as s:
        for name, labels in (("blue-1", {"team": "blue", "tier": "1"}), ("blue-2", {"team": "blue", "tier": "2"}), ("red-1", {"team": "red", "tier": "1"})):
            Source(s, name).write(3)
            s.has(name, 3)
            s.put(name, labels=labels)
        url = f"http://127.0.0.1:{s.port}"
        who = lambda *args: sorted({line.split(b"]")[0][1:].decode() for line in sandlog(url, "logs", *args)[1].splitlines()})
        assert who("-l", "team=blue") == ["blue-1", "blue-2"]
        assert who("-l", "team=blue", "-l", "tier=1") == ["blue-1"]
        assert who("-l", "team=red", "-l", "tier=2") == []
        assert who("-l", "team=blue", "-l", "tier=2", "red-1") == ["blue-2", "red-1"]


def more_are_followed_than_files_are_allowed_at_first():
    """Each has a connection; shells allow 1,024 files, and more when asked."""
    with System() as s:
        sources = [Source(s, f"box-{i}") for i in range(150)]
        for source in sources:
            source.write(2)
            source.exit(0)
        until(lambda: all((s.info(x.sandbox) or {}).get("state") == "stopped" for x in sources), 60, "all have ended")
        env = dict(os.environ, SANDLOG_SERVER=f"http://127.0.0.1:{s.port}")
        p = subprocess.run([SANDLOG, "logs", "-f", *(x.sandbox for x in sources)], env=env, stdin=subprocess.DEVNULL, capture_output=True,
                           timeout=60 * PATIENCE, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1])))
        want = sorted(b"[%s] %s" % (x.sandbox.encode(), text) for x in sources for _, _, text in x.written)
        assert p.returncode == 0 and p.stderr == b"" and sorted(p.stdout.splitlines()) == want, (p.returncode, p.stderr[-300:])


if __name__ == "__main__":
    main([https_wants_a_certificate_that_is_trusted, labels_are_all_to_match, more_are_followed_than_files_are_allowed_at_first])
