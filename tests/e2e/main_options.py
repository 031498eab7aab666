# SPDX-License-Identifier: Apache-2.0
"""One environment serves all daemons: what several of them know by the same name has the same words."""
import os
import subprocess

from harness import BIN, main


def every_daemon_takes_the_same_log_levels():
    for daemon in ("collector", "broker", "gateway"):
        for level in ("error", "warning", "info", "debug"):
            p = subprocess.run([os.path.join(BIN, "sandlog-" + daemon), "--print-config"], capture_output=True, text=True, timeout=30,
                               env=dict(os.environ, SANDLOG_LOG_LEVEL=level, SANDLOG_WATCH="plain:/nowhere/{sandbox}"))
            assert p.returncode == 0 and f"log-level = {level}" in p.stdout, (daemon, level, p)


if __name__ == "__main__":
    main([every_daemon_takes_the_same_log_levels])
