# SPDX-License-Identifier: Apache-2.0
"""docker and kubectl over TLS with a token: they see their own sandboxes, and the same 404 for others and for none."""
import json
import os
import re
import shutil
import ssl
import subprocess
import http.client

from dialects_world import DOCKER_ID, World, text
from gateway_access import SECRET, grant
from harness import main, skip, until

if not shutil.which("openssl"):
    skip("no openssl")


def guarded(world):
    """The gateway begins again, with TLS and tokens. Returns the certificate's path."""
    cert, key, secret = (f"{world.dir}/{name}" for name in ("cert.pem", "key.pem", "secret"))
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", cert,
                    "-days", "2", "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"], check=True, capture_output=True)
    with open(secret, "wb") as f:
        f.write(SECRET + b"\n")
    world.stop("gateway")
    world.extra["gateway"] = ["--tls-cert", cert, "--tls-key", key, "--token-key", secret]
    world.start("gateway")
    context = ssl.create_default_context(cafile=cert)

    def ready():
        try:
            c = http.client.HTTPSConnection("localhost", world.port, timeout=10, context=context)
            c.request("GET", "/readyz")
            return c.getresponse().status == 200
        except OSError:
            return False
    until(ready, 10, "ready over TLS")
    return cert


def docker_sends_its_token_in_http_headers(world, cert):
    if not shutil.which("docker"):
        print("   no docker client")
        return

    def docker(token, *arguments):
        os.makedirs(f"{world.dir}/home/.docker", exist_ok=True)
        with open(f"{world.dir}/home/.docker/config.json", "w") as f:
            json.dump({"HttpHeaders": {"Authorization": "Bearer " + token}} if token else {}, f)
        return world.run("docker", "--tlsverify", "--tlscacert", cert, "-H", f"tcp://localhost:{world.port}", *arguments)
    mine = grant(sandboxes=("cri", "pa*"))
    status, out, err = docker(mine, "logs", "cri")
    assert (status, out, err) == (0, text(world.conmon, "stdout"), text(world.conmon, "stderr")), (status, err[:300])
    assert sorted(docker(mine, "ps", "-q", "--no-trunc")[1].split()) == [b"cri", b"pair"]
    for name in (DOCKER_ID, DOCKER_ID[:8], "spaced", "nobody"):
        status, out, err = docker(mine, "logs", name)
        assert (status, out) == (1, b"") and re.fullmatch(rb"Error( response from daemon)?: No such container: %s\n" % name.encode(), err), (name, err)
    status, out, err = docker(None, "logs", "cri")
    assert status == 1 and out == b"" and b"token" in err, err
    status, out, err = docker("x.y.z", "ps")
    assert status == 1 and err, err


def kubectl_sends_its_token(world, cert):
    if not shutil.which("kubectl"):
        print("   no kubectl")
        return

    def kubectl(token, *arguments):
        flags = ("--server=https://localhost:%d" % world.port, "--certificate-authority=" + cert)
        return world.run("kubectl", *flags, *(("--token=" + token,) if token else ()), *arguments)
    mine = grant(sandboxes=("cri", "pa*"))
    status, out, err = kubectl(mine, "logs", "cri")
    assert (status, out) == (0, text(world.conmon)), (status, err)
    status, out, err = kubectl(mine, "get", "pods", "-A", "-o", "name")
    assert sorted(out.split()) == [b"pod/cri", b"pod/pair"], (out, err)
    for space in ("default", "ns1"):  # what may not be seen and what is not there read alike
        told = [kubectl(mine, "logs", "-n", space, name)[1:] for name in ("spaced", "nobody")]
        assert told[0][0] == b"" and b"(NotFound)" in told[0][1], told
        assert told[0][1].replace(b"spaced", b"nobody") == told[1][1], told
    assert kubectl(mine, "get", "namespaces", "-o", "name")[1] == b"namespace/default\n"
    status, out, err = kubectl("x.y.z", "logs", "cri")
    assert status == 1 and out == b"" and b"must be logged in" in err, err
    client = world.spawn("kubectl", f"--server=https://localhost:{world.port}", "--certificate-authority=" + cert, "--token=" + mine,
                         "logs", "-f", "pair", "-c", "tick", "--tail=1")
    until(lambda: client.printed()[0] == text(world.tick[-1:]), 20, "the last line")
    client.process.terminate()
    client.process.wait()


def all_of_them():
    with World() as world:
        cert = guarded(world)
        docker_sends_its_token_in_http_headers(world, cert)
        kubectl_sends_its_token(world, cert)


if __name__ == "__main__":
    main([all_of_them])
