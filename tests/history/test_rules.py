#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The checker's own test: a faultless history passes, and each planted fault is found under its rule's name."""
import base64
import json
import os
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from court import READ  # noqa: E402
from faults import schedule  # noqa: E402
from rules import RULES, Ledger, View, Violation, make_line, rfc3339  # noqa: E402

NS = 1_795_000_000_000_000_000


def history(box, count, skip=()):
    """What a right server gives a reader of `count` lines, two containers in turn."""
    out = []
    for i in range(count):
        container, number = ("main", "side")[i % 2], i // 2
        box.written[container] = max(box.written.get(container, 0), number + 1)
        if i in skip:
            continue
        stream = "stdout" if number % 3 else "stderr"
        seq = len(out) + 1
        text = make_line(box.name, container, stream, number, NS + i, b"pad %d" % i)
        out.append({"seq": seq, "cursor": f"ab-cd-{seq}", "time": rfc3339(NS + i), "stream": stream, "container": container, "line": text.decode()})
    return out


def judge(objects, box, end=True, first=1, settle=None):
    view = View(box, "a planted reader", first)
    for o in objects:
        if o.get("event") == "gap":
            view.gap(o)
        elif o.get("event") == "end":
            view.end(o)
        else:
            view.line(o)
    if end:
        view.end({"reason": "stopped", "exit_code": 7, "last_seq": objects[-1]["seq"], "lost": 0})
    view.complete()
    return view


def number_again(objects):
    for i, o in enumerate([o for o in objects if "seq" in o]):
        o["seq"], o["cursor"] = i + 1, f"ab-cd-{i + 1}"
    return objects


def gap(behind, before=None):
    """Behind one line, before another."""
    return {"event": "gap", "from": behind and behind["cursor"], "to": before and before["cursor"], "lines": None, "reason": "source-vanished"}


def doctored(o, **change):
    return {**o, **change}


def plant_invented_text(h):
    h[3]["line"] = "nobody wrote this"


def plant_invented_number(h):
    h.append(doctored(h[9], seq=11, cursor="ab-cd-11", container="main", line=make_line("box", "main", "stdout", 77, NS, b"").decode()))


def plant_another_sandboxs_line(h):
    h[3]["line"] = make_line("other", "side", h[3]["stream"], 1, NS + 3, b"pad 3").decode()


def plant_gap_where_nothing_is_lost(h):
    h.insert(4, gap(h[3], h[4]))


def plant_a_flipped_byte(h):
    h[3]["line"] = h[3]["line"].replace("pad", "pAd")


def plant_wrong_stream(h):
    h[3]["stream"] = "stderr" if h[3]["stream"] == "stdout" else "stdout"


def plant_wrong_time(h):
    h[3]["time"] = rfc3339(NS + 4)


def plant_wrong_container(h):
    h[2]["container"] = "side"


def plant_a_line_twice(h):
    h.insert(4, dict(h[3]))
    number_again(h)


def plant_a_number_twice(h):
    h.insert(4, dict(h[3]))


def plant_a_missing_line(h):
    del h[4]
    number_again(h)


def plant_missing_last_lines(h):
    del h[7:]


def plant_a_hole_in_the_numbers(h):
    for o in h[5:]:
        o["seq"] += 1


def plant_a_wrong_cursor(h):
    h[5]["cursor"] = "ab-cd-5"


def plant_a_cursor_of_another_store(h):
    h[5]["cursor"] = "ef-cd-6"


def plant_a_line_after_end(h):
    h.insert(9, {"event": "end", "reason": "stopped", "exit_code": 7, "last_seq": 9, "lost": 0})


def plant_end_twice(h):
    h += [{"event": "end", "reason": "stopped", "exit_code": 7, "last_seq": 10, "lost": 0}] * 2


def plant_another_exit_code(h):
    h.append({"event": "end", "reason": "stopped", "exit_code": 8, "last_seq": 10, "lost": 0})


def plant_end_too_high(h):
    h.append({"event": "end", "reason": "stopped", "exit_code": 7, "last_seq": 11, "lost": 0})


PLANTED = [
    (plant_invented_text, "invented"), (plant_invented_number, "invented"), (plant_another_sandboxs_line, "invented"),
    (plant_gap_where_nothing_is_lost, "invented"),
    (plant_a_flipped_byte, "bytes"), (plant_wrong_stream, "bytes"), (plant_wrong_time, "bytes"), (plant_wrong_container, "invented"),
    (plant_a_line_twice, "doubled"), (plant_a_number_twice, "doubled"),
    (plant_a_missing_line, "missing"), (plant_missing_last_lines, "missing"),
    (plant_a_hole_in_the_numbers, "cursor"), (plant_a_wrong_cursor, "cursor"), (plant_a_cursor_of_another_store, "cursor"),
    (plant_a_line_after_end, "end"), (plant_end_twice, "end"), (plant_end_too_high, "end"),
    (plant_another_exit_code, "end"),
]


def found(action, rule, name):
    try:
        action()
    except Violation as v:
        assert v.rule == rule, f"{name}: found as {v.rule}, is {rule}\n{v}"
        assert "a planted reader" in str(v) and "RULE " + rule in str(v), v
        return rule
    raise AssertionError(f"{name}: not found")


def each_planted_fault_is_found_under_its_rule():
    rules = set()
    for plant, rule in PLANTED:
        box = Ledger().box("box")
        box.exit_code = 7
        h = history(box, 10)
        plant(h)
        rules.add(found(lambda h=h, box=box: judge(h, box, end=not any(o.get("event") == "end" for o in h)), rule, plant.__name__))
    return rules


def what_was_delivered_once_has_to_be_there_for_all():
    box = Ledger().box("box")
    judge(history(box, 10), box)
    fewer = history(box, 10)[:8]
    found(lambda: judge(fewer, box), "acknowledged", "lines gone after a crash")
    other = history(box, 10)
    other[6], other[7] = dict(other[7]), dict(other[6])
    number_again(other)
    found(lambda: judge(other, box), "acknowledged", "numbers given anew after a crash")
    return {"acknowledged"}


def order_is_judged_where_losses_are_allowed():
    box = Ledger().box("box", loses=True)
    h = history(box, 10)
    h = number_again(h[:2] + h[6:8] + [h[4]] + h[8:])
    h.insert(2, gap(h[1]))
    found(lambda: judge(h, box), "order", "a line behind a later one")
    return {"order"}


def a_loss_has_to_be_told_also_where_it_is_allowed():
    box = Ledger().box("box", loses=True)
    h = history(box, 10, skip=(4, 5))
    h.insert(4, gap(h[3], h[4]))
    view = judge(h, box)
    assert view.missing == 2 and view.gaps == 1 and len(h) == 9
    for place in (gap(None), gap(h[2]), gap(h[3], h[6])):
        found(lambda place=place: judge(h[:4] + [place] + h[5:], box), "missing", "a gap in another place")
    box = Ledger().box("box", loses=True)
    found(lambda: judge(history(box, 10, skip=(4, 5)), box), "missing", "a loss that nobody tells")


def a_right_history_passes_in_every_form():
    box = Ledger().box("box")
    h = history(box, 1000)
    h[4]["raw"] = base64.b64encode(h[4]["line"].encode()).decode()
    assert judge(h, box).delivered == 1000
    assert judge(h[400:], box, first=401).delivered == 600
    bodies = {
        "ndjson": b"".join(json.dumps(o).encode() + b"\n" for o in h),
        "text": b"".join(o["line"].encode() + b"\n" for o in h),
        "sse": b"".join(f"id: {o['cursor']}\nevent: log\ndata: {json.dumps(o)}\n\n".encode() for o in h),
    }
    for form, body in bodies.items():
        view = View(box, form)
        READ[form](view, body)
        if form == "text":
            view.next_seq = None
        view.complete()
        assert view.delivered == 1000, form


def pieces_are_one_line():
    box = Ledger().box("box")
    h = history(box, 4)
    text = h[2]["line"]
    h[2:3] = [doctored(h[2], line=text[:9], partial=True), doctored(h[2], line=text[9:])]
    assert judge(number_again(h), box).delivered == 4
    box = Ledger().box("box")
    h = history(box, 4)
    h[2:3] = [doctored(h[2], line=text[:9], partial=True), doctored(h[2], line=text[10:])]
    found(lambda: judge(number_again(h), box), "bytes", "a byte between two pieces")


def a_seed_is_one_schedule():
    for redis in (False, True):
        assert schedule(7, 300, redis) == schedule(7, 300, redis) != schedule(8, 300, redis)
        plan = schedule(7, 3600, redis)
        assert plan[:50] == schedule(7, 600, redis)[:50]  # a longer run begins as a shorter one
        everyone = ["broker", "collector", "gateway"] + ["broker2", "redis"] * redis
        want = {(kind, who) for kind in ("kill", "pause", "cut", "clock") for who in everyone} | {("fill", "disk")}
        want = want - {("clock", "redis")} | {("term", who) for who in everyone if who != "redis"}
        assert {f[1:3] for f in plan} == want, want ^ {f[1:3] for f in plan}


def fifty_thousand_lines_a_second():
    box = Ledger().box("box")
    lines = [json.dumps(o) for o in history(box, 20_000)]
    begun = time.process_time()
    view = View(box, "speed")
    for line in lines:
        view.line(json.loads(line))
    rate = len(lines) / (time.process_time() - begun)
    print(f"   {rate:.0f} lines/s")
    assert rate > 20_000, rate  # what a machine with half of the speed still does


if __name__ == "__main__":
    seen = set()
    for test in (each_planted_fault_is_found_under_its_rule, what_was_delivered_once_has_to_be_there_for_all,
                 order_is_judged_where_losses_are_allowed, a_loss_has_to_be_told_also_where_it_is_allowed,
                 a_right_history_passes_in_every_form, pieces_are_one_line, a_seed_is_one_schedule, fifty_thousand_lines_a_second):
        seen |= test() or set()
        print("ok", test.__name__)
    assert seen == set(RULES), f"rules without a planted fault: {set(RULES) - seen}"
