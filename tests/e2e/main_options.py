# SPDX-License-Identifier: Apache-2.0
"""One environment serves all daemons: what several of them know by the same name has the same words."""
import os
import subprocess
import tempfile

from harness import BIN, main


def every_daemon_takes_the_same_log_levels():
    for daemon in ("collector", "broker", "gateway"):
        for level in ("error", "warning", "info", "debug"):
            p = subprocess.run([os.path.join(BIN, "sandlog-" + daemon), "--print-config"], capture_output=True, text=True, timeout=30,
                               env=dict(os.environ, SANDLOG_LOG_LEVEL=level, SANDLOG_WATCH="plain:/nowhere/{sandbox}"))
            assert p.returncode == 0 and f"log-level = {level}" in p.stdout, (daemon, level, p)


def a_broker_on_the_folder_of_sandlog_up_says_what_is_wrong():
    """Both have the default ./sandlog-data; `up` keeps its store in a folder of it."""
    with tempfile.TemporaryDirectory() as data:
        os.mkdir(data + "/store")
        p = subprocess.run([os.path.join(BIN, "sandlog-broker"), "--data", data, "--ingest", f"ipc://{data}/i", "--query", f"ipc://{data}/q",
                            "--http", "127.0.0.1:0"], capture_output=True, text=True, timeout=30)
        assert p.returncode == 1 and "sandlog up" in p.stderr and data in p.stderr and p.stderr.count("\n") == 1, p


def a_bad_value_is_named_in_one_line():
    with tempfile.TemporaryDirectory() as here:
        for words, named, hidden in [
                (["sandlog-broker", "--store", "http://u:pw4711@host"], "--store", "pw4711"),
                (["sandlog", "export", "all", "--to", "ftp://u:pw4711@host/x"], "--to", "pw4711"),
                (["sandlog-collector", "--watch", "foo"], '--watch: "foo" must begin with cri:', None),
                (["sandlog", "up", "--listen", "127.0.0.1:0", "--watch", "cri:/logs"], '--watch: "cri:/logs" has no {sandbox}', None)]:
            p = subprocess.run([os.path.join(BIN, words[0])] + words[1:], capture_output=True, text=True, timeout=30, cwd=here)
            assert p.returncode == 2 and named in p.stderr and p.stderr.count("\n") == 1, (words, p)
            assert hidden is None or hidden not in p.stderr, p
            assert words[1] == "up" or os.listdir(here) == [], os.listdir(here)


def a_configuration_may_stand_before_the_command():
    with tempfile.TemporaryDirectory() as here:
        with open(here + "/ini", "w") as f:
            f.write("server = http://127.0.0.1:1\n")
        for words in (["--config", here + "/ini", "ps"], ["--config=" + here + "/ini", "ps"], ["ps", "--config", here + "/ini"]):
            p = subprocess.run([os.path.join(BIN, "sandlog")] + words + ["--print-config"], capture_output=True, text=True, timeout=30)
            assert p.returncode == 0 and "server = http://127.0.0.1:1\n" in p.stdout, (words, p)


if __name__ == "__main__":
    main([a_configuration_may_stand_before_the_command, every_daemon_takes_the_same_log_levels, a_bad_value_is_named_in_one_line, a_broker_on_the_folder_of_sandlog_up_says_what_is_wrong])
