# SPDX-License-Identifier: Apache-2.0
"""What retention took is told once, with its true size, to who asked for it, and to nobody else."""
from harness import Source, System, main, until


def retention_is_a_gap_for_who_asked_for_what_it_took():
    with System(broker=["--sandbox-bytes", "64KiB", "--segment-bytes", "4MiB"]) as s:
        source = Source(s, "box")
        for _ in range(25):
            source.write(5000)
            s.has("box", len(source.written))
        early = s.lines("box", limit=10)[-1]

        def taken():
            s.request("POST", "/compact", port=s.broker_port, timeout=60)
            return s.lines("box")[0].get("event") == "gap"
        until(taken, 60, "retention took the first lines")
        gap, first, *rest = s.lines("box")
        lost = first["seq"] - 1
        assert gap == {"event": "gap", "from": None, "to": first["cursor"], "lines": lost, "reason": "retention"}, gap
        assert first["seq"] + len(rest) == len(source.written)
        if early.get("cursor") and early["seq"] < lost:
            gap = s.lines("box", after=early["cursor"])[0]
            assert gap["from"] == early["cursor"] and gap["lines"] == lost - early["seq"], gap
        # a tail, and a page above a line, have what is kept; nothing was asked for that is gone
        assert s.lines("box", tail=len(source.written))[0] == first
        assert s.lines("box", before=rest[100]["cursor"], tail=5000)[0] == first
        assert s.lines("box", after=rest[0]["cursor"])[0] == rest[1]


if __name__ == "__main__":
    main([retention_is_a_gap_for_who_asked_for_what_it_took])
