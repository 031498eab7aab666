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


def what_protects_is_not_turned_off_by_an_empty_value():
    """`--secret "$UNSET"` and `--token-key ''` meant: no authentication; so did SANDLOG_TOKEN_KEY= in a unit's environment."""
    watch = ("--watch", "plain:/nowhere/{sandbox}")
    with tempfile.TemporaryDirectory() as here:
        for program, given, options in [
                ("sandlog-broker", (), ("secret", "link-ca", "link-cert", "link-key", "store", "data", "ingest", "query", "http")),
                ("sandlog-collector", watch, ("secret", "link-ca", "link-cert", "link-key", "broker", "http", "host")),
                ("sandlog-gateway", (), ("secret", "link-ca", "link-cert", "link-key", "token-key", "tls-cert", "tls-key", "broker", "listen"))]:
            for option in options:
                variable = "SANDLOG_" + option.upper().replace("-", "_")
                with open(here + "/ini", "w") as f:
                    f.write(option + " = \n")
                for words, env, named in [(["--" + option, ""], {}, "--" + option), (["--config", here + "/ini"], {}, f"{here}/ini:1: {option}"),
                                          ([], {variable: ""}, variable)]:
                    p = subprocess.run([os.path.join(BIN, program), *given, *words, "--print-config"], capture_output=True, text=True, timeout=30,
                                       cwd=here, env=dict(os.environ, **env))
                    assert p.returncode == 2 and p.stdout == "" and p.stderr.count("\n") == 1, (program, option, p)
                    assert f'{named}: "" must not be empty' in p.stderr, p.stderr


def a_value_that_is_judged_at_the_start_ends_with_2():
    with tempfile.TemporaryDirectory() as here:
        with open(here + "/garbage", "w") as f:
            f.write("garbage\n")
        broker = ["sandlog-broker", "--ingest", "ipc://i", "--query", "ipc://q", "--http", "127.0.0.1:0", "--data", "store"]
        redis = [*broker[:-2], "--store"]
        collector = ["sandlog-collector", "--watch", "plain:/nowhere/{sandbox}", "--http", "127.0.0.1:0"]
        gateway = ["sandlog-gateway", "--listen", "127.0.0.1:0"]
        for words, named in [
                (broker + ["--secret", "none"], "--secret none: No such file"),
                (broker + ["--link-cert", "garbage"], "--link-cert garbage: is not PEM"),
                (redis + ["redis://"], "redis://"),
                (redis + ["redis://u@:1"], "redis://"),
                (redis + ["redis://h:1?nonsense=1"], "nonsense"),
                (collector + ["--secret", "none"], "--secret none: No such file"),
                *((collector + ["--host", name], "--host: ") for name in ("x" * 256, "a b", "a\tb", "a\u00e9", "a\x7f")),
                (gateway + ["--secret", "none"], "--secret none: No such file"),
                (gateway + ["--token-key", "none"], "--token-key none: No such file"),
                (gateway + ["--token-key", "garbage"], "--token-key garbage: "),
                (gateway + ["--tls-cert", "garbage"], "--tls-cert and --tls-key come together"),
                (gateway + ["--tls-cert", "garbage", "--tls-key", "none"], "--tls-key none: No such file"),
                (gateway + ["--tls-cert", "garbage", "--tls-key", "garbage"], "--tls-cert garbage: "),
                (gateway[:1] + ["--listen", "0.0.0.0:0"], "--insecure-no-auth"),
                (gateway + ["--allow-origin", "zzz zzz"], '--allow-origin: "zzz zzz" is not an origin'),
                (gateway + ["--allow-origin", "https://logs.example/"], "--allow-origin: "),
                (["sandlog", "token", "--sandbox", "*", "--key", "none"], "--key none: no such file"),
                (["sandlog", "ps", "--ca-file", "none"], "--ca-file none: no such file"),
                (["sandlog", "ps", "--token-file", "none"], "--token-file none: no such file")]:
            p = subprocess.run([os.path.join(BIN, words[0])] + words[1:], capture_output=True, text=True, timeout=30, cwd=here)
            assert p.returncode == 2 and named in p.stderr and p.stderr.count("\n") == 1, (words, p)
            assert os.listdir(here) == ["garbage"], os.listdir(here)
        for origin in ("*", "https://logs.example", "http://localhost:3000", "http://[::1]:80", "chrome-extension://abcdef"):
            p = subprocess.run([os.path.join(BIN, "sandlog-gateway"), "--allow-origin", origin, "--print-config"], capture_output=True, text=True, timeout=30)
            assert p.returncode == 0 and f"allow-origin = {origin}\n" in p.stdout, p


def a_configuration_may_stand_before_the_command():
    with tempfile.TemporaryDirectory() as here:
        with open(here + "/ini", "w") as f:
            f.write("server = http://127.0.0.1:1\n")
        for words in (["--config", here + "/ini", "ps"], ["--config=" + here + "/ini", "ps"], ["ps", "--config", here + "/ini"]):
            p = subprocess.run([os.path.join(BIN, "sandlog")] + words + ["--print-config"], capture_output=True, text=True, timeout=30)
            assert p.returncode == 0 and "server = http://127.0.0.1:1\n" in p.stdout, (words, p)


if __name__ == "__main__":
    main([what_protects_is_not_turned_off_by_an_empty_value, a_value_that_is_judged_at_the_start_ends_with_2,
          a_configuration_may_stand_before_the_command, every_daemon_takes_the_same_log_levels, a_bad_value_is_named_in_one_line,
          a_broker_on_the_folder_of_sandlog_up_says_what_is_wrong])
