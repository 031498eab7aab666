# SPDX-License-Identifier: Apache-2.0
"""What stands beside the command: completion in real shells on a terminal, man pages under mandoc's eye, and both compared with
what --help says. No daemon is needed."""
import http.server
import json
import os
import pty
import re
import select
import shutil
import subprocess
import tempfile
import threading
import time

from harness import BIN, PATIENCE, main

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../..")
CLI = os.path.join(ROOT, "gateway/cli")
SANDLOG = os.path.join(BIN, "sandlog")
COMMANDS = ["up", "run", "logs", "ps", "export", "canary", "token"]
PAGES = [CLI + "/sandlog.1", ROOT + "/gateway/sandlog-gateway.8", ROOT + "/broker/sandlog-broker.8", ROOT + "/collector/sandlog-collector.8"]


class Catalog:
    """A gateway that lists two sandboxes."""

    def __enter__(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def log_message(self, *args):
                pass

            def do_GET(self):
                body = json.dumps({"sandboxes": [{"id": "web-front:1", "state": "running"}, {"id": "db_main", "state": "stopped"}]}).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return "http://127.0.0.1:%d" % self.server.server_address[1]

    def __exit__(self, *args):
        self.server.shutdown()
        self.server.server_close()


class Shell:
    """A shell at a prompt `%% `, on a terminal of its own."""

    def __init__(self, command, url, folder):
        env = {"PATH": BIN + ":" + os.environ["PATH"], "TERM": "dumb", "SANDLOG_SERVER": url, "HOME": folder, "PS1": "%% ", "LC_ALL": "C.UTF-8"}
        self.master, slave = pty.openpty()
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=env, cwd=folder, start_new_session=True)
        os.close(slave)
        self.seen = ""

    def until(self, pattern, what, seconds=30):
        deadline = time.monotonic() + seconds * PATIENCE
        while not re.search(pattern, self.seen, re.S):
            assert time.monotonic() < deadline, f"{what}: {pattern!r} does not come; there is {self.seen!r}"
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 65536).decode(errors="replace")

    def type(self, text):
        self.seen = ""
        os.write(self.master, text.encode())

    def completes(self, typed, pattern):
        """What is typed, and TAB, twice; then the line is thrown away."""
        self.type(typed + "\t")
        self.until(pattern, typed)
        self.type("\x15echo done-$((40+2))\r")
        self.until("done-42", typed)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.master)


def lines_of(shell):
    shell.completes("sandlog ex", r"sandlog export ")
    shell.completes("sandlog export archive --on", r"--once ")
    shell.completes("sandlog export archive --to som", r"some-folder/")
    shell.completes("sandlog logs db", r"db_main ")
    shell.completes("sandlog logs --stream stde", r"--stream stderr ")
    shell.completes("sandlog logs --no-re", r"--no-reconnect ")
    shell.completes("sandlog ps -o js", r"-o json ")
    shell.completes("sandlog token --sco", r"--scope ")
    shell.completes("sandlog canary --js", r"--json ")
    shell.completes("sandlog up --wat", r"--watch ")
    shell.completes("sandlog run --log-d", r"--log-dir ")


def in_shell(command, set_up):
    with Catalog() as url, tempfile.TemporaryDirectory(prefix="sandlog-shell-") as folder:
        os.mkdir(folder + "/some-folder")
        os.mkdir(folder + "/zsh")
        shutil.copy(CLI + "/completion/_sandlog", folder + "/zsh/_sandlog")
        shell = Shell(command, url, folder)
        try:
            shell.type(set_up + "; echo ready-$((40+2))\r")
            shell.until("ready-42", "start")
            lines_of(shell)
        finally:
            shell.close()


def bash_completes_commands_options_values_and_ids():
    if not shutil.which("bash"):
        return print("   no bash")
    in_shell(["bash", "--norc", "--noprofile", "-i"], f"source {os.path.abspath(CLI)}/completion/sandlog.bash")


def zsh_completes_commands_options_values_and_ids():
    if not shutil.which("zsh"):
        return print("   no zsh")
    in_shell(["zsh", "-f", "-i"], "unsetopt zle_bracketed_paste; bindkey -e; fpath=($HOME/zsh $fpath); autoload -Uz compinit; compinit -u -D")


def man_pages_are_clean():
    if not shutil.which("mandoc"):
        return print("   no mandoc")
    for page in PAGES:
        text = subprocess.run(["mandoc", "-T", "lint", page], stdout=subprocess.PIPE, text=True).stdout
        # meant so: examples stand first; and the other pages are not installed where this runs
        bad = [line for line in text.splitlines() if "sections out of conventional order: Sh DESCRIPTION" not in line and "referenced manual not found" not in line]
        assert not bad, "\n".join(bad)
        with open(page) as f:
            sections = re.findall(r"^\.Sh (.*)$", f.read(), re.M)
        assert sections.index("EXAMPLES") < sections.index("DESCRIPTION"), (page, sections)
    names = {os.path.basename(p) for p in PAGES}
    for page in PAGES:
        with open(page) as f:
            for name, section in re.findall(r"^\.Xr (sandlog\S*) (\d)", f.read(), re.M):
                assert f"{name}.{section}" in names, (page, name, section)


def options_of(command):
    text = subprocess.run([SANDLOG, command, "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    return [("no-" if negated else "") + name for negated, name in re.findall(r"^  (?:-\w, |    )--(\[no-\])?([a-z-]+)", text, re.M)]


def every_option_is_in_the_man_page_and_in_both_completions():
    with open(CLI + "/sandlog.1") as f:
        manual = f.read()
    with open(CLI + "/completion/_sandlog") as f:
        zsh = f.read()
    with open(CLI + "/completion/sandlog.bash") as f:
        bash = f.read()
    for command in COMMANDS:
        section = re.search(rf"^\.Ss sandlog {command}\n(.*?)(?=^\.S[sh] )", manual, re.M | re.S)
        assert section, command
        names = options_of(command)
        assert len(names) > 4, (command, names)
        for name in names:
            common = name in ("help", "version", "config", "print-config")
            server = name in ("server", "token-file", "ca-file")  # told once, at `logs`
            assert common or server or re.search(rf"-{re.escape(name)}\b", section.group(1)), f"{command} --{name} is not in the man page"
            assert f"--{name}" in zsh, f"{command} --{name} is not in zsh's completion"
            assert f"--{name}" in bash, f"{command} --{name} is not in bash's completion"


if __name__ == "__main__":
    main([bash_completes_commands_options_values_and_ids, zsh_completes_commands_options_values_and_ids, man_pages_are_clean,
          every_option_is_in_the_man_page_and_in_both_completions])
