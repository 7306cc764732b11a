// Talks to the server, or, in a report, to the answers that lie in the file itself.
import { signal } from "@preact/signals";

export class ApiError extends Error {
  constructor(
    readonly status: number,
    message: string,
    readonly hint: string,
  ) {
    super(message);
  }
}

interface Report {
  date: string;
  answers: Record<string, unknown>;
}

function readReport(): Report | null {
  const element = document.getElementById("report-data");
  return element?.textContent ? (JSON.parse(element.textContent) as Report) : null;
}

export const report = readReport();

export type Connection = "live" | "reconnecting" | "offline" | "report";
export const connection = signal<Connection>(report ? "report" : "live");
export const lostAt = signal<number>(0);

export function reached(): void {
  if (!report && connection.value !== "live") connection.value = "live";
}

export function lost(): void {
  if (connection.value === "live") lostAt.value = Date.now();
  connection.value = "reconnecting";
}

async function fetchJson(path: string): Promise<unknown> {
  let response: Response;
  try {
    response = await fetch(path, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  } catch {
    lost();
    throw new ApiError(0, "The server does not answer.", "Is `espalier ui` still running?");
  }
  reached();
  const body = (await response.json()) as { error?: { message: string; hint: string } };
  if (!response.ok) throw new ApiError(response.status, body.error?.message ?? response.statusText, body.error?.hint ?? "");
  return body;
}

// A report holds an answer for a path with some parameters, or one for the path whatever they are.
export async function get<T>(path: string, parameters: Record<string, string | number> = {}): Promise<T> {
  if (report) {
    const name = Object.entries(parameters).map(([k, v]) => `${k}=${v}`).join("&");
    const answer = report.answers[`${path}?${name}`] ?? report.answers[path];
    if (answer === undefined) throw new ApiError(404, "This is not in the report.", "Its run has it: espalier ui DIR shows everything.");
    return answer as T;
  }
  const query = new URLSearchParams(Object.entries(parameters).map(([k, v]) => [k, String(v)])).toString();
  return (await fetchJson(query ? `${path}?${query}` : path)) as T;
}

export type Handlers = Record<string, (data: never) => void>;

// One stream, reopened with growing patience; EventSource goes on from its last event by itself while it lives. A page that
// nobody sees for half a minute lets go of it.
export function follow(path: string, handlers: Handlers): () => void {
  if (report) return () => {};
  const waits = [1000, 2000, 4000, 8000, 15000];
  let source: EventSource | null = null;
  let failures = 0;
  let timer = 0;
  let closed = false;
  const open = (): void => {
    source = new EventSource(path);
    source.onopen = () => {
      failures = 0;
      reached();
    };
    source.onerror = () => {
      lost();
      source?.close();
      source = null;
      if (!closed) timer = window.setTimeout(open, waits[Math.min(failures++, waits.length - 1)]);
    };
    for (const [name, handler] of Object.entries(handlers)) {
      source.addEventListener(name, (event) => handler(JSON.parse((event as MessageEvent<string>).data) as never));
    }
  };
  const seen = (): void => {
    window.clearTimeout(timer);
    if (document.hidden) {
      timer = window.setTimeout(() => {
        source?.close();
        source = null;
      }, 30000);
    } else if (!source && !closed) {
      open();
    }
  };
  document.addEventListener("visibilitychange", seen);
  open();
  return () => {
    closed = true;
    window.clearTimeout(timer);
    document.removeEventListener("visibilitychange", seen);
    source?.close();
  };
}
