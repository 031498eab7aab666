// SPDX-License-Identifier: Apache-2.0
/*
 * The gateway's HTTP API as this page uses it: pages of lines (NDJSON) and a follower (SSE over fetch) that resumes by itself
 * behind the last cursor it gave out. Nothing here touches the DOM.
 */
import { createParser } from "./vendor/eventsource-parser.js";

export class Problem extends Error {
  constructor(status, problem) {
    super(problem?.detail ?? problem?.title ?? `the server answered ${status}`);
    this.status = status;
    this.code = (problem?.type ?? "").split(/[:/]/).pop();
  }
}

export class Api {
  /** `server`: origin of the gateway ("" for this page's own); `token`: sent as Bearer, may be null. */
  constructor({ server = "", token = null } = {}) {
    this.server = server;
    this.token = token;
  }

  logsUrl(sandbox, params) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(params)) if (value !== null && value !== undefined && value !== "") query.set(name, value);
    return `${this.server}/v1/sandboxes/${encodeURIComponent(sandbox)}/logs?${query}`;
  }

  async fetch(url, options = {}) {
    const headers = new Headers(options.headers);
    if (this.token) headers.set("Authorization", `Bearer ${this.token}`);
    const answer = await fetch(url, { cache: "no-store", ...options, headers });
    if (!answer.ok) {
      let problem = null;
      try {
        problem = await answer.json();
      } catch { /* not from the gateway: the status has to do */ }
      throw new Problem(answer.status, problem);
    }
    return answer;
  }

  /** The lines and gaps that `params` select, in order. */
  async page(sandbox, params, signal) {
    const answer = await this.fetch(this.logsUrl(sandbox, { format: "ndjson", gaps: 1, ...params }), { signal });
    const text = await answer.text();
    return text.split("\n").filter(Boolean).map((line) => JSON.parse(line));
  }

  async sandbox(id) {
    return (await this.fetch(`${this.server}/v1/sandboxes/${encodeURIComponent(id)}`)).json();
  }

  async sandboxes(params) {
    return (await this.fetch(`${this.server}/v1/sandboxes?${new URLSearchParams(params)}`)).json();
  }
}

const BACK_OFF_MS = [250, 500, 1000, 2000, 5000];

/**
 * Follows one sandbox until it ends or close() is called.
 *   on.batch([{seq, cursor, line, ...} | {event: "gap", ...}])   what came with one read of the connection
 *   on.state("live" | "reconnecting" | "ended" | "failed", detail)
 * `first` selects where to start (tail, after, since); after a lost connection it is replaced by the last cursor seen.
 */
export class Follower {
  constructor(api, sandbox, first, filter, on) {
    Object.assign(this, { api, sandbox, first, filter, on, cursor: null, failures: 0 });
    this.abort = new AbortController();
    this.run();
  }

  close() {
    this.abort.abort();
  }

  async run() {
    while (!this.abort.signal.aborted) {
      try {
        if (await this.once()) return;
      } catch (error) {
        if (this.abort.signal.aborted) return;
        if (error instanceof Problem && error.code === "sandbox-not-running") return this.finish();
        if (error instanceof Problem && error.status < 500 && error.status !== 429) return this.on.state("failed", error);
      }
      if (this.abort.signal.aborted) return;
      this.on.state("reconnecting");
      const pause = BACK_OFF_MS[Math.min(this.failures++, BACK_OFF_MS.length - 1)];
      await new Promise((done) => setTimeout(done, pause * (0.75 + Math.random() / 2)));
    }
  }

  where() {
    return this.cursor ? { after: this.cursor } : this.first;
  }

  /** One connection. True: there is no more to come. */
  async once() {
    const url = this.api.logsUrl(this.sandbox, { follow: 1, format: "sse", data: "json", ...this.filter, ...this.where() });
    const answer = await this.api.fetch(url, { signal: this.abort.signal, headers: { Accept: "text/event-stream" } });
    if (answer.status === 204) {
      await this.finish();
      return true;
    }
    this.on.state("live");
    let batch = [];
    let end = null;
    const parser = createParser({
      onEvent: ({ event, id, data }) => {
        if (event === "log") {
          const line = JSON.parse(data);
          this.cursor = id ?? line.cursor;
          batch.push(line);
        } else if (event === "gap") batch.push({ event: "gap", ...JSON.parse(data) });
        else if (event === "end") end = JSON.parse(data);
        else if (event === "error") throw new Problem(503, JSON.parse(data));
      },
    });
    const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return false;
      this.failures = 0;
      parser.feed(value);
      if (batch.length) this.on.batch(batch);
      batch = [];
      if (end && end.reason !== "shutdown" && end.reason !== "expired") {
        this.on.state("ended", end);
        return true;
      }
      if (end) return false;
    }
  }

  /** The sandbox had stopped before we asked: what there is, then its end. */
  async finish() {
    const lines = await this.api.page(this.sandbox, { ...this.filter, ...this.where() }, this.abort.signal);
    if (lines.length) this.on.batch(lines);
    const info = await this.api.sandbox(this.sandbox);
    this.on.state("ended", { reason: "stopped", exit_code: info.exit_code ?? null });
  }
}
