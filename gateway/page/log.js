// SPDX-License-Identifier: Apache-2.0
/*
 * The log of one sandbox, as a dashboard embeds it:
 *
 *   import { openLog } from "https://GATEWAY/page/log.js";
 *   const log = openLog(element, { sandbox: "ID", server: "https://GATEWAY", token: null });
 *   log.close();
 *
 * The element gets the view; page.css styles it (class `sandlog-log`). Invariants:
 *  1. What is shown is one run of consecutive lines: a window over the log. Its ends are cursors, not positions.
 *  2. The window holds at most WINDOW lines; growing at one end drops at the other. Memory does not grow with the log.
 *  3. Live means: the window's end is the log's end and the view is scrolled to it. Scrolling up leaves live, the button returns.
 *  4. Every change of the window keeps what the reader looks at where it is.
 *  5. Lines that come are drawn once a frame, of a flood only the last; the others are fetched when they are scrolled to.
 */
import { Api, Follower, Problem } from "./stream.js";
import { appendText, searchPattern } from "./text.js";

const FIRST = 500; // lines at the start and after a jump to the end
const PAGE = 500; // lines fetched when scrolling reaches an end
const CHUNK = 100; // lines in one element that the browser skips while it is out of sight
const WINDOW = 10_000;
const FLOOD = 1000; // more lines than this in one frame run past unread: the window then begins anew at the last of them
const HIDDEN_MS = 250; // a page out of sight has no frames
const NEAR_PX = 600; // distance from an end at which the next page is fetched

const STATES = { connecting: "connecting", live: "live", paused: "paused", reconnecting: "reconnecting", ended: "ended", failed: "failed" };

function element(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name.includes("-") || name === "role" || name === "for") node.setAttribute(name, value);
    else node[name] = value;
  }
  node.append(...children);
  return node;
}

function option(select, value, label) {
  select.append(element("option", { value, textContent: label }));
}

function timeText(iso, mode) {
  if (mode === "off") return "";
  if (mode === "utc") return iso.slice(0, 23).replace("T", " ") + "Z";
  const at = new Date(iso);
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())} ${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}` +
    `.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

class LogView {
  constructor(host, { sandbox, server = "", token = null, cursor = null, onproblem = null }) {
    this.api = new Api({ server, token });
    this.sandbox = sandbox;
    this.onproblem = onproblem;
    this.chunks = []; // [{ node, lines: [object] }], in order
    this.queue = []; // came since the last frame
    this.count = 0;
    this.times = "local";
    this.stream = "both";
    this.term = "";
    this.pattern = null;
    this.filtering = false;
    this.follower = null;
    this.atStart = false; // nothing older than the window
    this.atEnd = false; // the follower adds to the window's end
    this.held = false; // the last line is to stay in sight
    this.fresh = 0; // lines that came while the reader was elsewhere
    this.state = "connecting";
    this.abort = new AbortController();
    this.build(host);
    if (cursor) this.showLine(cursor);
    else this.showEnd();
  }

  close() {
    this.abort.abort();
    this.follower?.close();
    this.sizes.disconnect();
    this.root.remove();
  }

  // ---- parts ---------------------------------------------------------------------------------------------------------
  build(host) {
    this.badge = element("span", { className: "state", role: "status", "aria-live": "polite" });
    const times = element("select", { title: "Timestamps", "aria-label": "Timestamps", onchange: () => this.setTimes(times.value) });
    option(times, "local", "local time");
    option(times, "utc", "UTC");
    option(times, "off", "no times");
    const stream = element("select", { title: "Stream", "aria-label": "Stream", onchange: () => this.setStream(stream.value) });
    option(stream, "both", "stdout + stderr");
    option(stream, "stdout", "stdout");
    option(stream, "stderr", "stderr");
    const wrap = element("input", { type: "checkbox", onchange: () => this.root.classList.toggle("wrap", wrap.checked) });
    const filter = element("input", { type: "checkbox", onchange: () => this.setFilter(filter.checked) });
    this.search = element("input", { type: "search", placeholder: "Search the whole log", "aria-label": "Search the whole log",
      oninput: () => this.setTerm(this.search.value), onkeydown: (event) => {
        if (event.key === "Enter") this.find(event.shiftKey ? -1 : 1);
        if (event.key === "Escape") { this.search.value = ""; this.setTerm(""); this.list.focus(); }
      } });
    this.found = element("span", { className: "found", role: "status", "aria-live": "polite" });
    const jump = element("input", { type: "datetime-local", step: 1, title: "Jump to time", "aria-label": "Jump to time",
      // in the time zone that is shown
      onchange: () => jump.value && this.showTime(new Date(jump.value + (this.times === "utc" ? "Z" : ""))) });
    const download = element("a", { href: this.api.logsUrl(this.sandbox, { format: "text" }), download: `${this.sandbox}.log`, textContent: "Download",
      onclick: (event) => this.api.token && (event.preventDefault(), this.download()) });
    this.root = element("section", { className: "sandlog-log", "aria-label": `Log of ${this.sandbox}` },
      element("div", { className: "bar" },
        element("strong", { className: "name", textContent: this.sandbox, title: this.sandbox }), this.badge,
        element("span", { className: "searching" }, this.search,
          element("button", { type: "button", textContent: "↑", title: "Previous match (Shift+Enter)", "aria-label": "Previous match", onclick: () => this.find(-1) }),
          element("button", { type: "button", textContent: "↓", title: "Next match (Enter)", "aria-label": "Next match", onclick: () => this.find(1) }),
          element("label", {}, filter, "only matches"), this.found),
        element("span", { className: "choices" }, stream, times, element("label", {}, wrap, "wrap"), jump, download)),
      this.list = element("div", { className: "lines", tabIndex: 0, role: "log", "aria-live": "off", "aria-label": "Log lines", onscroll: () => this.scrolled() }),
      this.more = element("button", { type: "button", className: "more", hidden: true, onclick: () => this.showEnd() }));
    this.list.addEventListener("keydown", (event) => this.key(event));
    this.list.addEventListener("click", (event) => this.clicked(event));
    // Who stands at the end stays there when the window shrinks, lines wrap, or chunks that come into sight are higher than guessed.
    this.sizes = new ResizeObserver(() => this.held && this.toBottom());
    this.sizes.observe(this.list);
    host.append(this.root);
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "End" || event.key === "G") this.showEnd();
    else if (event.key === "Home" || event.key === "g") this.showStart();
    else if (event.key === "/") this.search.focus();
    else if (event.key === "n") this.find(1);
    else if (event.key === "N") this.find(-1);
    else return;
    event.preventDefault();
  }

  clicked(event) {
    if (!getSelection().isCollapsed || !event.target.classList.contains("mark-line")) return;
    const line = event.target.closest(".line");
    history.replaceState(null, "", `#${line.dataset.cursor}`);
    this.point(line);
  }

  setState(state, detail) {
    this.state = state;
    let text = STATES[state];
    if (state === "ended") {
      text = detail?.reason === "deleted" ? "deleted" : "ended";
      if (detail?.exit_code !== null && detail?.exit_code !== undefined) text += `, exit code ${detail.exit_code}`;
      if (detail?.lost) text += `, ${detail.lost} lines lost`;
    }
    if (state === "failed") text = detail.message;
    this.badge.textContent = text;
    this.badge.className = `state ${state}${state === "ended" && detail?.exit_code ? " bad" : ""}`;
    if (state !== "failed") return;
    this.atEnd = detail?.status === 404; // else the button leads back to the end
    this.onproblem?.(detail);
  }

  /** live or paused, whichever is true now */
  settle() {
    if (this.state === "live" || this.state === "paused") this.setState(this.atEnd && this.pinned() ? "live" : "paused");
    this.more.hidden = this.atEnd && this.pinned();
    this.more.textContent = this.fresh ? `${this.fresh.toLocaleString()} new line${this.fresh === 1 ? "" : "s"} ↓` : "To the end ↓";
  }

  /** A link can't carry the token's header, so the page fetches it and hands it over as a file. */
  async download() {
    this.found.textContent = "downloading";
    try {
      const answer = await this.api.fetch(this.api.logsUrl(this.sandbox, { format: "text" }));
      const href = URL.createObjectURL(await answer.blob());
      element("a", { href, download: `${this.sandbox}.log` }).click();
      setTimeout(() => URL.revokeObjectURL(href), 60_000);
      this.found.textContent = "";
    } catch (error) {
      this.found.textContent = error instanceof Problem ? error.message : "the server can't be reached";
    }
  }

  // ---- choices ---------------------------------------------------------------------------------------------------------
  setTimes(mode) {
    this.times = mode;
    this.root.classList.toggle("no-times", mode === "off");
    for (const { node, lines } of this.chunks) lines.forEach((line, i) => line.time && (node.children[i].dataset.time = timeText(line.time, mode)));
  }

  setStream(stream) {
    this.stream = stream;
    this.showEnd();
  }

  setTerm(term) {
    this.term = term;
    this.found.textContent = "";
    this.pattern = searchPattern(term, true);
    clearTimeout(this.typing);
    this.typing = setTimeout(() => (this.filtering ? this.showEnd() : this.repaint()), 200);
  }

  setFilter(on) {
    this.filtering = on;
    if (this.term) this.showEnd();
  }

  filter() {
    return { stream: this.stream === "both" ? null : this.stream, ...(this.filtering && this.term ? { grep: this.term, ignore_case: 1 } : {}) };
  }

  repaint() {
    for (const { node, lines } of this.chunks) node.replaceChildren(...lines.map((line) => this.row(line)));
  }

  // ---- the window ------------------------------------------------------------------------------------------------------
  row(line) {
    if (line.event === "gap") {
      const lost = line.lines === null || line.lines === undefined ? "lines" : `${line.lines.toLocaleString()} line${line.lines === 1 ? "" : "s"}`;
      return element("div", { className: "gap", role: "note", textContent: `${lost} missing here (${line.reason})` });
    }
    const row = element("div", { className: `line ${line.stream}${line.cursor === this.here ? " here" : ""}` }); // a repaint keeps the place
    row.dataset.cursor = line.cursor;
    row.dataset.time = timeText(line.time, this.times);
    row.append(element("span", { className: "mark-line", title: "Link to this line", "aria-hidden": "true" }));
    const text = element("span", { className: "text" });
    appendText(text, line.line, this.pattern);
    row.append(text);
    return row;
  }

  clear() {
    this.follower?.close();
    this.follower = null;
    this.chunks = [];
    this.queue = [];
    this.count = 0;
    this.fresh = 0;
    this.atStart = this.atEnd = false;
    this.list.replaceChildren();
    this.abort.abort();
    this.abort = new AbortController();
    return this.abort.signal;
  }

  makeChunk(lines) {
    const node = element("div", { className: "chunk" }, ...lines.map((line) => this.row(line)));
    node.style.setProperty("--lines", lines.length);
    this.sizes.observe(node);
    return { node, lines };
  }

  append(lines) {
    const pinned = this.atEnd && this.pinned(); // a page that was scrolled to must not scroll on to the next
    if (pinned && lines.length > FLOOD) {
      this.list.replaceChildren();
      this.chunks = [];
      this.count = 0;
      this.atStart = false;
      lines = lines.slice(-FLOOD);
    }
    let at = 0;
    const last = this.chunks.at(-1);
    if (last && last.lines.length < CHUNK) {
      at = Math.min(CHUNK - last.lines.length, lines.length);
      const some = lines.slice(0, at);
      last.lines.push(...some);
      last.node.append(...some.map((line) => this.row(line)));
      last.node.style.setProperty("--lines", last.lines.length);
    }
    for (; at < lines.length; at += CHUNK) {
      const chunk = this.makeChunk(lines.slice(at, at + CHUNK));
      this.chunks.push(chunk);
      this.list.append(chunk.node);
    }
    this.count += lines.length;
    while (this.count - this.chunks[0].lines.length >= WINDOW) this.drop(this.chunks[0]);
    if (pinned) this.toBottom();
  }

  prepend(lines) {
    const before = this.list.scrollHeight - this.list.scrollTop;
    for (let end = lines.length; end > 0; end -= CHUNK) {
      const chunk = this.makeChunk(lines.slice(Math.max(0, end - CHUNK), end));
      this.chunks.unshift(chunk);
      this.list.prepend(chunk.node);
      // its true height now, not the guess it has until it is first seen: the reader's line must not move
      chunk.node.style.contentVisibility = "visible";
    }
    this.count += lines.length;
    this.list.scrollTop = this.list.scrollHeight - before;
    while (this.count - this.chunks.at(-1).lines.length >= WINDOW) {
      this.drop(this.chunks.at(-1));
      this.leaveEnd();
    }
  }

  drop(chunk) {
    const first = chunk === this.chunks[0];
    const before = this.list.scrollHeight - this.list.scrollTop;
    this.sizes.unobserve(chunk.node);
    chunk.node.remove();
    this.count -= chunk.lines.length;
    if (first) {
      this.chunks.shift();
      this.atStart = false;
      this.list.scrollTop = this.list.scrollHeight - before;
    } else this.chunks.pop();
  }

  /** The window's end is no longer the log's end: new lines are counted, not kept. */
  leaveEnd() {
    this.atEnd = false;
  }

  pinned() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < 4;
  }

  toBottom() {
    this.held = true;
    this.list.scrollTop = this.list.scrollHeight;
  }

  edge(first) {
    const all = first ? this.chunks : [...this.chunks].reverse();
    for (const { lines } of all) {
      const line = first ? lines.find((l) => l.cursor) : lines.findLast((l) => l.cursor);
      if (line) return line.cursor;
    }
    return null;
  }

  // ---- moving ----------------------------------------------------------------------------------------------------------
  follow(first) {
    this.atEnd = true;
    const mine = new Follower(this.api, this.sandbox, first, this.filter(), {
      batch: (lines) => {
        if (this.follower !== mine) return;
        if (!this.queue.length) {
          requestAnimationFrame(() => this.flush());
          setTimeout(() => this.flush(), HIDDEN_MS);
        }
        for (const line of lines) this.queue.push(line);
      },
      state: (state, detail) => {
        if (this.follower !== mine) return;
        this.flush();
        this.setState(state, detail);
        this.settle();
      },
    });
    this.follower = mine;
  }

  flush() {
    if (!this.queue.length) return;
    const lines = this.queue;
    this.queue = [];
    const elsewhere = !this.atEnd || !this.pinned();
    if (elsewhere && this.count) this.fresh += lines.filter((l) => l.cursor).length;
    if (this.atEnd && elsewhere && this.count + lines.length > WINDOW) this.leaveEnd();
    if (this.atEnd) this.append(lines);
    this.settle();
  }

  showEnd() {
    this.clear();
    this.setState("connecting");
    this.follow({ tail: FIRST });
    this.settle();
  }

  async show(fetchLines, target) {
    const signal = this.clear();
    this.setState("connecting");
    try {
      const lines = await fetchLines(signal);
      if (signal.aborted) return;
      this.append(lines);
      this.setState("paused");
      const row = target && [...this.list.querySelectorAll(".line")].find((r) => r.dataset.cursor === target);
      if (row) {
        row.scrollIntoView({ block: "center" });
        this.point(row);
      } else this.list.scrollTop = 0;
      this.settle();
      this.scrolled();
    } catch (error) {
      if (!signal.aborted) this.setState("failed", error);
    }
  }

  showStart() {
    this.show((signal) => this.api.page(this.sandbox, { ...this.filter(), limit: PAGE }, signal)).then(() => (this.atStart = true));
  }

  showTime(when) {
    return this.show((signal) => this.api.page(this.sandbox, { ...this.filter(), since: when.toISOString(), limit: PAGE }, signal));
  }

  /** The line, with what stands around it. */
  showLine(cursor) {
    return this.show(async (signal) => {
      const above = await this.api.page(this.sandbox, { ...this.filter(), before: cursor, tail: PAGE / 2 }, signal);
      const last = above.findLast((l) => l.cursor);
      const below = await this.api.page(this.sandbox, { ...this.filter(), ...(last ? { after: last.cursor } : {}), limit: PAGE }, signal);
      return [...above, ...below];
    }, cursor);
  }

  /** Nothing older is kept. Numbers begin at 1, so a first line with another one tells what retention took. */
  reachStart() {
    this.atStart = true;
    const first = this.chunks[0]?.lines[0];
    if (first?.seq > 1 && !this.filter().stream && !this.filter().grep) this.prepend([{ event: "gap", lines: first.seq - 1, reason: "retention" }]);
  }

  point(row) {
    this.list.querySelector(".here")?.classList.remove("here");
    row.classList.add("here");
    this.here = row.dataset.cursor;
  }

  async find(direction) {
    if (!this.term) return;
    const from = this.here ?? this.edge(direction < 0 ? false : true);
    this.found.textContent = "searching";
    try {
      const edge = direction > 0 ? { limit: 1 } : { tail: 1 };
      const ask = async (where) => (await this.api.page(this.sandbox, { ...this.filter(), grep: this.term, ignore_case: 1, ...edge, ...where })).find((l) => l.cursor);
      let hit = await ask(direction > 0 ? { after: from } : { before: from });
      this.found.textContent = "";
      if (!hit) {
        hit = await ask({}); // round, as a browser's own search goes
        this.found.textContent = !hit ? "no match" : direction > 0 ? "went on from the start" : "went on from the end";
        if (!hit) return;
      }
      const { cursor } = hit;
      const row = [...this.list.querySelectorAll(".line")].find((r) => r.dataset.cursor === cursor);
      if (!row) return void (await this.showLine(cursor));
      row.scrollIntoView({ block: "center" });
      this.point(row);
    } catch (error) {
      this.found.textContent = error instanceof Problem ? error.message : "the server can't be reached";
    }
  }

  async scrolled() {
    this.held = this.atEnd && this.pinned();
    if (this.pinned() && this.atEnd) this.fresh = 0;
    this.settle();
    if (this.loading || !this.count) return;
    const up = this.list.scrollTop < NEAR_PX && !this.atStart;
    const down = !up && !this.atEnd && this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_PX;
    if (!up && !down) return;
    const cursor = this.edge(up);
    if (!cursor) return;
    const signal = this.abort.signal;
    this.loading = true;
    try {
      const lines = await this.api.page(this.sandbox, { ...this.filter(), ...(up ? { before: cursor, tail: PAGE } : { after: cursor, limit: PAGE }) }, signal);
      if (signal.aborted) return;
      const got = lines.filter((l) => l.cursor).length;
      if (up) {
        if (lines.length) this.prepend(lines);
        if (got < PAGE) this.reachStart();
      } else {
        if (lines.length) this.append(lines);
        // the end of the log again: follow on from here, without a seam
        if (got < PAGE) {
          this.follower?.close();
          this.fresh = 0;
          this.follow({ after: this.edge(false) });
        }
      }
      this.settle();
    } catch (error) {
      if (!signal.aborted) this.found.textContent = error.message;
    } finally {
      this.loading = false;
    }
  }
}

/** Shows the log of `options.sandbox` in `host`. Returns an object with close(). */
export function openLog(host, options) {
  return new LogView(host, options);
}
