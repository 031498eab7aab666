# SPDX-License-Identifier: Apache-2.0
"""Nothing is lost or doubled on the way from file to store, whoever is killed and whenever: read back when it is over."""
import random
import time

from collector_direct import Direct, compare, in_background, write_steadily
from harness import Source, main


def killed(name, rate, times, form="cri"):
    with Direct([f"{form}:LOGS/{{sandbox}}/{{container}}.log"]) as s:
        sources = [Source(s, f"busy{i}", form=form) for i in range(4)]
        writer = in_background(write_steadily, sources, rate, times * 0.8)
        pause = random.Random(name + form)
        for _ in range(times):
            time.sleep(pause.random())
            s.restart(name)
        writer.join()
        for source in sources:
            source.exit(7)
        for source in sources:
            s.stopped(source.sandbox)
            compare(source, s.lines(source.sandbox), f"{form}, kills of {name}")
            assert s.state(source.sandbox)["exit_code"] == 7
            assert not s.gaps(source.sandbox)
        print(f"   {form}: {sum(len(x.written) for x in sources)} lines, {times} kills of {name}")


def the_broker_is_killed_at_any_moment():
    killed("broker", 4000, 8)


def the_collector_is_killed_at_any_moment():
    for form in ("cri", "docker", "plain"):
        killed("collector", 3000, 5, form)


if __name__ == "__main__":
    main([the_broker_is_killed_at_any_moment, the_collector_is_killed_at_any_moment])
