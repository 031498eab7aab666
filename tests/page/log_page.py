# SPDX-License-Identifier: Apache-2.0
"""The log page in headless Chromium against the real daemons: opens, follows, pauses, pages up, searches, survives a gateway
restart with the exact set of lines, shows a gap and an end, and stays harmless under hostile lines.
"""
import os
import time

from browser import Page, texts_of
from harness import Source, System, main, rfc3339, until
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys


def the_page_opens_on_the_end_follows_pauses_and_pages_up():
    with System() as s, Page(s) as p:
        source = Source(s, "box")
        source.write(3000)
        s.has("box", 3000)
        p.open("/?sandbox=box")
        p.has(500)
        assert p.texts() == texts_of(source)[-500:], "opens on the last 500 lines"
        longest = max(map(len, p.texts()))
        assert p.js("return document.querySelector('.lines').scrollWidth") <= max(p.js("return document.querySelector('.lines').clientWidth"), 200 + 9 * longest), "no wider than its lines"
        until(lambda: p.state() == "live", 5, "live")
        source.write(10)
        p.has(510)
        assert p.texts() == texts_of(source)[-510:]
        # the last line stays in sight, and the page live, whatever becomes of the window and of wide lines
        hidden = lambda: p.js("const l = document.querySelector('.lines'); return l.scrollHeight - l.scrollTop - l.clientHeight")
        for change in (lambda: p.driver.set_window_size(1200, 500), lambda: p.js("document.querySelector('.choices [type=checkbox]').click()"),
                       lambda: p.driver.set_window_size(600, 700), lambda: p.js("document.querySelector('.choices [type=checkbox]').click()"),
                       lambda: p.driver.set_window_size(1200, 800)):
            change()
            until(lambda: p.frames(2) or hidden() < 4, 5, f"the last line in sight; {hidden()}")
            assert p.state() == "live"
        # scrolling up: paused, the page above is loaded, new lines are counted
        p.scroll(0)
        until(lambda: p.state() == "paused", 5, "paused")
        p.has(1010)
        source.write(7)
        until(lambda: "7 new lines" in p.js("return document.querySelector('.more').textContent"), 5, "the button counts new lines")
        got = p.texts()
        assert got == texts_of(source)[-len(got):], "one run of consecutive lines"
        for _ in range(8):
            p.scroll(0)
            time.sleep(0.1)
        until(lambda: len(p.texts()) == 3017, 20, "paged up to the first line")
        assert p.texts() == texts_of(source)
        p.shot("paused")
        p.driver.find_element(By.CSS_SELECTOR, ".more").click()
        until(lambda: p.state() == "live" and p.texts()[-1:] == texts_of(source)[-1:], 10, "back to live")
        complaints = p.complaints()
        assert not complaints, complaints


def search_finds_over_the_whole_log():
    with System() as s, Page(s) as p:
        source = Source(s, "box")
        source.write(2500)
        s.has("box", 2500)
        needle = texts_of(source)[123]
        p.open("/?sandbox=box")
        p.has(500)
        box = p.driver.find_element(By.CSS_SELECTOR, ".searching input[type=search]")
        box.send_keys(needle[:30])
        box.send_keys(Keys.SHIFT, Keys.ENTER)
        until(lambda: p.js("return document.querySelector('.here .text')?.textContent") == needle, 10, "the match far above is shown")
        until(p.texts, 10, "lines are shown")
        got = p.texts()
        at = texts_of(source).index(got[0])
        assert got == texts_of(source)[at:at + len(got)]
        until(lambda: p.js("return document.querySelectorAll('.here mark').length") == 1, 10, "what was searched for is marked")
        p.shot("search")
        p.driver.find_element(By.XPATH, "//label[contains(.,'only matches')]/input").click()
        until(lambda: p.texts() == [t for t in texts_of(source) if needle[:30].lower() in t.lower()], 10, "only matches")
        # round, when there is none below
        box.send_keys(Keys.ENTER)
        found = "return document.querySelector('.found').textContent"
        until(lambda: p.js(found) == "went on from the start", 10, "the search goes round")
        # a link to a line
        cursor = p.js("return document.querySelector('.line').dataset.cursor")
        p.open("/")
        p.open(f"/?sandbox=box#{cursor}")
        until(lambda: p.js("return document.querySelector('.here .text')?.textContent") == needle, 10, "the link leads to the line")


def a_gateway_restart_loses_and_doubles_nothing_on_the_page():
    with System() as s, Page(s) as p:
        source = Source(s, "box")
        source.write(20)
        s.has("box", 20)
        p.open("/?sandbox=box")
        p.has(20)
        for _ in range(3):
            s.kill("gateway")
            until(lambda: p.state() == "reconnecting", 10, "says that it reconnects")
            source.write(50)
            s.start("gateway")
            until(lambda: p.state() == "live", 20, "live again")
        source.write(5)
        p.has(175)
        assert p.texts() == texts_of(source)
        source.exit(3)
        until(lambda: p.state() == "ended, exit code 3", 10, "the end with its code")
        p.shot("ended")
        p.open("/")
        p.open("/?sandbox=box")
        until(lambda: p.state() == "ended, exit code 3", 10, "also when opened later")
        assert p.texts() == texts_of(source)


def hostile_lines_stay_text():
    lines = ["<script>window.hit = 1</script>", "<img src=x onerror='window.hit = 2'>", "\x1b]52;c;aGFjaw==\x07clip", "\x1b[2J\x1b[Hgone",
             "\x1b[31mred\x1b[0m \x1b[1;42mbold\x1b[0m", "safe\rover", "\x1b]8;;javascript:window.hit=3\x1b\\link\x1b]8;;\x1b\\", "javascript:window.hit = 4",
             "\u202egnp.exe", "data: x", "a\0b", "\x1b[38;2;1;2;3;url(x)mtruecolor"]
    with System() as s, Page(s) as p:
        os.makedirs(f"{s.logs}/evil")
        with open(f"{s.logs}/evil/main.log", "w", newline="") as f:
            now = time.time_ns()
            for i, line in enumerate(lines):
                f.write(f"{rfc3339(now + i)} stdout F {line}\n")
        s.has("evil", len(lines))
        p.open("/?sandbox=evil")
        p.has(len(lines))
        assert p.js("return window.hit") is None
        got = p.texts()
        assert got[0] == lines[0] and got[1] == lines[1] and got[4] == "red bold" and got[5] == "safe\u240dover" and got[10] == "a\u2400b", got
        assert not any(ord(c) < 32 for t in got for c in t), got
        assert p.js("return document.querySelectorAll('.lines a, .lines img, .lines script').length") == 0
        p.shot("hostile-light")
        p.dark(True)
        p.shot("hostile-dark")
        complaints = p.complaints()
        assert not complaints, complaints


def any_colour_is_shown_and_readable_in_both_themes():
    """Colours 16 to 255 were none: the library only names them. What is bright or dark for another background is still to be read."""
    colours = ["38;5;208", "38;5;232", "38;5;231", "38;5;226", "38;5;17", "38;2;255;255;255", "38;2;0;0;0"]
    contrast = """const numbers = (c) => { const x = document.createElement("canvas").getContext("2d"); x.fillStyle = c; x.fillRect(0, 0, 1, 1);
                                                return [...x.getImageData(0, 0, 1, 1).data].slice(0, 3); };
        const light = (c) => { const [r, g, b] = numbers(c).map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                               return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
        const behind = light(getComputedStyle(document.body).backgroundColor);
        return [...document.querySelectorAll(".lines span[style]")].filter((e) => e.style.color).map((e) => {
          const text = light(getComputedStyle(e).color); return (Math.max(text, behind) + .05) / (Math.min(text, behind) + .05); })"""
    with System() as s, Page(s) as p:
        os.makedirs(f"{s.logs}/box")
        with open(f"{s.logs}/box/main.log", "w", newline="") as f:
            for i, colour in enumerate(colours + ["48;5;22"]):
                f.write(f"{rfc3339(time.time_ns() + i)} stdout F \x1b[{colour}mcolour\x1b[0m\n")
        s.has("box", len(colours) + 1)
        for dark in (False, True):
            p.dark(dark)
            p.open("/?sandbox=box")
            p.has(len(colours) + 1)
            got = p.js(contrast)
            assert len(got) == len(colours) and min(got) >= 3, (dark, got)
            assert p.js("return document.querySelectorAll('.lines span[style]').length") == len(colours) + 1, "behind it, too"
            p.shot(f"colours-{'dark' if dark else 'light'}")


def the_list_shows_states_and_searches():
    with System() as s, Page(s) as p:
        for i in range(30):
            s.put(f"web-{i:02d}", state="running")
        s.put("job-1", state="stopped", exit_code=2)
        source = Source(s, "web-00")
        source.write(100)
        until(lambda: s.info("job-1")["state"] == "stopped", 10, "stopped")
        p.open("/")
        rows = lambda: p.js("return [...document.querySelectorAll('.list li')].map(e => e.textContent)")
        until(lambda: len(rows()) == 31, 10, "all sandboxes are listed")
        assert any("job-1" in r and "stopped (2)" in r for r in rows()), rows()
        p.shot("list-light")
        p.driver.find_element(By.CSS_SELECTOR, ".list input").send_keys("job")
        until(lambda: len(rows()) == 1, 10, "found by prefix")
        p.driver.find_element(By.CSS_SELECTOR, ".list li a").click()
        until(lambda: p.state() == "ended, exit code 2", 10, "its log opens")
        p.driver.set_window_size(400, 800)
        p.open("/?sandbox=web-00")
        p.has(100)
        assert p.js("return document.documentElement.scrollWidth <= window.innerWidth"), "nothing sticks out on a phone"
        p.shot("phone")
        complaints = p.complaints()
        assert not complaints, complaints


def what_retention_took_is_shown_as_a_gap():
    with System(broker=["--sandbox-bytes", "64KiB", "--segment-bytes", "4MiB"]) as s, Page(s) as p:
        source = Source(s, "box")
        for _ in range(25):  # commit after commit, more than a segment
            source.write(5000)
            s.has("box", len(source.written))
        def taken():
            s.request("POST", "/compact", port=s.broker_port, timeout=60)
            return s.lines("box")[0].get("event") == "gap"
        until(taken, 60, "retention took the first lines")
        p.open("/?sandbox=box")
        p.has(500)
        until(lambda: p.scroll(0) or p.js("return document.querySelector('.gap')"), 30, "the gap is reached by scrolling up")
        text = p.js("return document.querySelector('.gap').textContent")
        first = s.lines("box")[1]["seq"]
        assert text == f"{first - 1:,} lines missing here (retention)", (text, first)
        assert p.texts() == texts_of(source)[first - 1:]
        p.shot("gap")


def what_is_copied_is_the_log():
    with System() as s, Page(s) as p:
        source = Source(s, "box")
        source.write(30)
        s.has("box", 30)
        p.open("/?sandbox=box")
        p.has(30)
        copied = p.js("""const r = document.createRange(); r.selectNodeContents(document.querySelector('.lines'));
            getSelection().removeAllRanges(); getSelection().addRange(r); return getSelection().toString()""")
        assert copied.strip("\n").split("\n") == texts_of(source), copied[:300]


def a_long_log_is_moved_through_by_keys_within_bounds():
    with System() as s, Page(s) as p:
        source = Source(s, "box")
        for _ in range(10):
            source.write(10_000)
        s.has("box", 100_000)
        want = texts_of(source)
        p.open("/?sandbox=box")
        p.has(500)
        lines = p.driver.find_element(By.CSS_SELECTOR, ".lines")
        lines.send_keys(Keys.HOME)
        until(lambda: p.texts()[:1] == want[:1], 20, "Home leads to the first line")
        for _ in range(30):  # down through more than the window holds
            until(p.texts, 20, "lines are shown")
            count, last = len(p.texts()), p.texts()[-1:]
            p.scroll(-1)
            until(lambda: p.texts()[-1:] != last, 20, "the next page is loaded")
            got = p.texts()
            at = want.index(got[0])
            assert got == want[at:at + len(got)], "one run of consecutive lines"
            assert len(got) <= 10_600, f"{len(got)} lines in the document"
        assert p.texts()[0] != want[0], "what is far above was let go"
        lines.send_keys(Keys.END)
        until(lambda: p.state() == "live" and p.texts()[-1:] == want[-1:], 20, "End leads back to live")
        lines.send_keys("/")
        assert p.js("return document.activeElement.type") == "search", "/ leads to the search"


if __name__ == "__main__":
    main([the_page_opens_on_the_end_follows_pauses_and_pages_up, search_finds_over_the_whole_log,
          a_gateway_restart_loses_and_doubles_nothing_on_the_page, hostile_lines_stay_text,
          any_colour_is_shown_and_readable_in_both_themes, the_list_shows_states_and_searches,
          what_retention_took_is_shown_as_a_gap, what_is_copied_is_the_log, a_long_log_is_moved_through_by_keys_within_bounds])
