# SPDX-License-Identifier: Apache-2.0
"""The broker alone, over its links: killed at any moment it keeps what it acknowledged, in order, once; a stop that
was under way when it died is brought to its end."""
import os
import random
import signal
import subprocess
import time

import harness
from harness import PATIENCE, System, main, until

PROBE = os.path.join(harness.BIN, "..", "tests", "link_probe")
KILLS = 20
SECONDS = 30  # the kills are over by then; what was not done by then is not done


def probe(s, *args, **more):
    return subprocess.run([PROBE, f"ipc://{s.dir}/ingest.sock", f"ipc://{s.dir}/query.sock", *args],
                          capture_output=True, text=True, timeout=60 * PATIENCE, **more)


def broker_alone(s):
    s.start("broker")
    until(lambda: s.probe(s.broker_port), 10, "broker ready\n" + s.errors())


def requests_get_the_answers_that_the_headers_promise():
    with System(start=False) as s:
        broker_alone(s)
        p = probe(s, "claims")
        print(p.stdout, end="")
        assert p.returncode == 0, p.stderr
        assert s.stop("broker") == 0


def kill_under(s, soak):
    dice = random.Random(20261121)
    began, kills = time.monotonic(), 0
    while kills < KILLS and time.monotonic() - began < SECONDS * PATIENCE:
        # Not a wait for something: the moment of the kill is what is tried out.
        time.sleep(dice.uniform(0.02, 0.3))
        s.restart("broker", signal.SIGKILL)
        until(lambda: s.probe(s.broker_port) or soak.poll() is not None, 20, "broker back\n" + s.errors())
        kills += 1
        if soak.poll() is not None:
            break
    out, err = soak.communicate("", timeout=60 * PATIENCE)
    print(f"{kills} kills: {out.strip()}")
    assert soak.returncode == 0, err + s.errors()
    assert kills >= 5 and " 0 lines" not in out


def what_was_acknowledged_survives_twenty_kills():
    with System(start=False) as s:
        broker_alone(s)
        # No look for leaks in the probe: nng may still hold a message of a connection that was cut off when it ends.
        soak = subprocess.Popen([PROBE, f"ipc://{s.dir}/ingest.sock", f"ipc://{s.dir}/query.sock", "soak"],
                                env=dict(os.environ, ASAN_OPTIONS="detect_leaks=0"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            kill_under(s, soak)
        finally:
            soak.kill()
            soak.wait()


def a_stop_under_way_survives_a_kill():
    with System(start=False) as s:
        broker_alone(s)
        assert probe(s, "put", "box", "running").returncode == 0
        assert probe(s, "put", "box", "stopped").returncode == 0
        assert probe(s, "await", "box", "stopping", "1").returncode == 0
        s.restart("broker", signal.SIGKILL)
        p = probe(s, "await", "box", "stopped", "20")
        assert p.returncode == 0, p.stderr
        s.restart("broker", signal.SIGKILL)
        assert probe(s, "await", "box", "stopped", "10").returncode == 0


if __name__ == "__main__":
    main([requests_get_the_answers_that_the_headers_promise, what_was_acknowledged_survives_twenty_kills,
          a_stop_under_way_survives_a_kill])
