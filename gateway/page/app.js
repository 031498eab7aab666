// SPDX-License-Identifier: Apache-2.0
/* The page itself: a list of sandboxes, and beside it the log of the one that `?sandbox=` names. */
import { Api } from "./stream.js";
import { openLog } from "./log.js";

const REFRESH_MS = 2000;
const app = document.getElementById("app");
const token = () => sessionStorage.getItem("sandlog-token");

function element(tag, properties = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
}

function age(iso) {
  if (!iso) return "–";
  const s = Math.max(0, (Date.now() - Date.parse(iso)) / 1000);
  for (const [unit, seconds] of [["d", 86400], ["h", 3600], ["m", 60]]) if (s >= seconds) return `${Math.floor(s / seconds)} ${unit}`;
  return `${Math.floor(s)} s`;
}

function size(bytes) {
  let n = bytes;
  for (const unit of ["B", "KiB", "MiB", "GiB"]) {
    if (n < 1024 || unit === "GiB") return `${n < 10 && unit !== "B" ? n.toFixed(1) : Math.round(n)} ${unit}`;
    n /= 1024;
  }
  return "";
}

function askForToken(problem) {
  const input = element("input", { type: "password", autocomplete: "off", required: true });
  input.setAttribute("aria-label", "Token");
  const form = element("form", { className: "token" }, element("p", { textContent: problem.message }), input, element("button", { textContent: "Continue" }));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    sessionStorage.setItem("sandlog-token", input.value.trim());
    location.reload();
  });
  app.replaceChildren(form);
  input.focus();
}

class List {
  constructor(host, open) {
    this.open = open;
    this.search = element("input", { type: "search", placeholder: "Find a sandbox" });
    this.search.setAttribute("aria-label", "Find a sandbox");
    this.search.addEventListener("input", () => this.refresh());
    this.state = element("select", {}, ...["all", "running", "stopped"].map((value) => element("option", { value, textContent: value })));
    this.state.setAttribute("aria-label", "State");
    this.state.addEventListener("change", () => this.refresh());
    this.rows = element("ul");
    this.note = element("p", { className: "note" });
    this.note.setAttribute("role", "status");
    host.append(element("div", { className: "bar" }, this.search, this.state), this.rows, this.note);
    this.refresh();
    setInterval(() => document.visibilityState === "visible" && this.refresh(), REFRESH_MS);
  }

  async refresh() {
    const asked = (this.asked = (this.asked ?? 0) + 1);
    const params = { limit: 200 };
    if (this.search.value) params.prefix = this.search.value;
    if (this.state.value !== "all") params.state = this.state.value;
    try {
      const { sandboxes, next_page } = await new Api({ token: token() }).sandboxes(params);
      if (asked !== this.asked) return;
      this.show(sandboxes);
      this.note.textContent = sandboxes.length === 0 ? "No sandbox has written a line yet." : next_page ? "Only the newest are shown; type to find others." : "";
    } catch (problem) {
      if (problem.status === 401) askForToken(problem);
      else this.note.textContent = problem.status ? problem.message : "The server can't be reached; trying again.";
    }
  }

  show(sandboxes) {
    const have = new Map([...this.rows.children].map((row) => [row.dataset.id, row]));
    this.rows.replaceChildren(...sandboxes.map((box) => {
      const row = have.get(box.id) ?? this.row(box.id);
      const bad = box.state === "stopped" && box.exit_code ? ` (${box.exit_code})` : "";
      row.querySelector(".what").textContent = `${box.state}${bad} · ${age(box.last_time)} · ${size(box.bytes)}`;
      row.className = `${box.state}${bad ? " bad" : ""}`;
      row.firstChild.setAttribute("aria-current", String(box.id === this.open));
      return row;
    }));
  }

  row(id) {
    const link = element("a", { href: `?sandbox=${encodeURIComponent(id)}` }, element("span", { className: "id", textContent: id }), element("span", { className: "what" }));
    const row = element("li", {}, link);
    row.dataset.id = id;
    return row;
  }
}

const sandbox = new URLSearchParams(location.search).get("sandbox");
const nav = element("nav", { className: "list" });
nav.setAttribute("aria-label", "Sandboxes");
nav.append(element("h1", {}, element("a", { href: "/", textContent: "sandlog" })));
app.append(nav);
app.classList.toggle("one", Boolean(sandbox));
new List(nav, sandbox);
if (sandbox) {
  document.title = `${sandbox} · sandlog`;
  app.append(element("a", { className: "back", href: "/", textContent: "‹ all sandboxes" })); // only shown where the list is not
  const log = openLog(app, { sandbox, token: token(), cursor: location.hash.slice(1) || null, onproblem: (problem) => problem.status === 401 && askForToken(problem) });
  addEventListener("hashchange", () => location.hash.length > 1 && log.showLine(location.hash.slice(1)));
} else {
  app.append(element("p", { className: "hint", textContent: "Choose a sandbox to read its log." }));
}
