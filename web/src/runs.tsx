// The table of all runs.
import { computed, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ApiError, follow, get } from "./api";
import { Sparkline } from "./chart";
import * as f from "./format";
import { Command, Copy, Empty, Failure, Loading, Status } from "./parts";
import { link, route, setQuery } from "./route";
import type { Summary } from "./types";

const MOST_COMPARED = 12;

const runs = signal<Summary[] | null>(null);
const error = signal<ApiError | null>(null);
const directory = signal("");
export const selected = signal<string[]>([]);

async function load(): Promise<void> {
  try {
    directory.value = (await get<{ dir: string }>("/api/server")).dir;
    runs.value = (await get<{ runs: Summary[] }>("/api/runs", { limit: 10000 })).runs;
    error.value = null;
  } catch (e) {
    if (!(e instanceof ApiError)) throw e;
    error.value = e;
  }
}

function changed(event: { changed?: Summary; removed?: { id: string } }): void {
  const list = runs.value ?? [];
  if (event.removed) runs.value = list.filter((r) => r.id !== event.removed?.id);
  const summary = event.changed;
  if (!summary) return;
  const at = list.findIndex((r) => r.id === summary.id);
  runs.value = at < 0 ? [...list, summary] : list.map((r, i) => (i === at ? summary : r));
}

// --- filter: free text, key:value, key<number, key>number ---------------------------------------------
type Test = (r: Summary) => boolean;

function numberOf(r: Summary, key: string): number | null {
  const best = r.best;
  const values: Record<string, number | null | undefined> = { acc: best?.score, best: best?.score, macs: best?.macs, params: best?.params, latency: best?.latency_ms, epoch: r.epoch, seed: r.seed, time: r.elapsed_s };
  return values[key] ?? null;
}

function textOf(r: Summary, key: string): string {
  const values: Record<string, unknown> = { ...r, metric: r.best?.metric };
  return String(values[key] ?? "").toLowerCase();
}

export function parseFilter(text: string): Test[] {
  return text
    .trim()
    .toLowerCase()
    .split(/\s+/)
    .filter(Boolean)
    .map((word): Test => {
      const compare = /^([a-z]+)([<>])([-0-9.e]+)$/.exec(word);
      if (compare) {
        const [, key = "", sign, limit] = compare;
        return (r) => {
          const value = numberOf(r, key);
          return value !== null && (sign === "<" ? value < Number(limit) : value > Number(limit));
        };
      }
      const [key, value] = word.split(":");
      if (key && value !== undefined) return (r) => textOf(r, key).includes(value);
      return (r) => ["name", "path", "status", "strategy", "space", "data"].some((k) => textOf(r, k).includes(word));
    });
}

// --- columns --------------------------------------------------------------------------------------------
interface Column {
  key: string;
  title: string;
  number?: boolean;
  order: (r: Summary) => string | number;
  show: (r: Summary) => preact.ComponentChildren;
}

const known = (x: number | null | undefined): number => (typeof x === "number" ? x : -Infinity);
// Unlike scores stand apart: first by metric and split, then the better one.
const bestOrder = (r: Summary): string => {
  const b = r.best;
  if (!b || b.score === null) return "";
  const better = b.direction < 0 ? -b.score : b.score;
  return `${b.metric} ${b.split} ${(better + 1e9).toFixed(9).padStart(24, "0")}`;
};

const columns: Column[] = [
  { key: "status", title: "Status", order: (r) => r.status, show: (r) => <Status status={r.status} /> },
  { key: "name", title: "Name", order: (r) => r.name, show: (r) => <a href={link("run", r.id)} title={r.path}>{r.name}</a> },
  { key: "strategy", title: "Strategy", order: (r) => r.strategy ?? "", show: (r) => r.strategy ?? (r.kind === "retrain" ? "(retraining)" : "–") },
  { key: "space", title: "Space", order: (r) => r.space ?? "", show: (r) => r.space ?? "–" },
  { key: "data", title: "Data", order: (r) => r.data ?? "", show: (r) => r.data ?? "–" },
  {
    key: "best",
    title: "Best",
    number: true,
    order: bestOrder,
    show: (r) => (r.best ? <span title={`${r.best.split} ${r.best.metric}, epoch ${r.best.epoch}`}>{f.score(r.best.score, r.best.metric)}</span> : "–"),
  },
  { key: "trend", title: "Trend", order: (r) => known(r.trend?.at(-1)), show: (r) => <Sparkline values={r.trend ?? []} /> },
  { key: "macs", title: "MACs", number: true, order: (r) => known(r.best?.macs), show: (r) => f.count(r.best?.macs) },
  { key: "latency", title: "Latency", number: true, order: (r) => known(r.best?.latency_ms), show: (r) => f.milliseconds(r.best?.latency_ms) },
  { key: "time", title: "Time", number: true, order: (r) => known(r.elapsed_s), show: (r) => f.duration(r.elapsed_s) },
  { key: "eta", title: "ETA", number: true, order: (r) => known(r.eta_s), show: (r) => f.duration(r.eta_s) },
  { key: "created", title: "Started", order: (r) => known(r.created_unix_ms), show: (r) => f.clock(r.created_unix_ms) },
];

const shown = computed<Summary[]>(() => {
  const query = route.value.query;
  const tests = parseFilter(query.get("q") ?? "");
  const column = columns.find((c) => c.key === (query.get("sort") ?? "created")) ?? columns[0];
  const sign = query.get("order") === "asc" ? 1 : -1;
  const list = (runs.value ?? []).filter((r) => tests.every((t) => t(r)));
  return [...list].sort((a, b) => {
    const x = column?.order(a) ?? 0;
    const y = column?.order(b) ?? 0;
    return x === y ? a.id.localeCompare(b.id) : sign * (x < y ? -1 : 1);
  });
});

function toggle(id: string): void {
  const now = selected.value;
  if (now.includes(id)) selected.value = now.filter((x) => x !== id);
  else if (now.length < MOST_COMPARED) selected.value = [...now, id];
}

function Header({ c }: { c: Column }) {
  const query = route.value.query;
  const active = (query.get("sort") ?? "created") === c.key;
  const ascending = query.get("order") === "asc";
  const sort = (): void => {
    setQuery("order", active && !ascending ? "asc" : null);
    setQuery("sort", c.key);
  };
  return (
    <th scope="col" class={c.number ? "number" : ""} aria-sort={active ? (ascending ? "ascending" : "descending") : "none"}>
      <button type="button" class="sort" onClick={sort}>
        {c.title}
        <span aria-hidden="true">{active ? (ascending ? " ▲" : " ▼") : ""}</span>
      </button>
    </th>
  );
}

function Row({ r }: { r: Summary }) {
  return (
    <tr class={selected.value.includes(r.id) ? "chosen" : ""}>
      <td>
        <input type="checkbox" aria-label={`compare ${r.name}`} checked={selected.value.includes(r.id)} onChange={() => toggle(r.id)} />
      </td>
      {columns.map((c) => (
        <td key={c.key} class={`${c.number ? "number " : ""}col-${c.key}`} data-title={c.title}>
          {c.show(r)}
          {c.key === "status" && r.status === "unreadable" && <span class="secondary small"> {r.status_detail}</span>}
        </td>
      ))}
    </tr>
  );
}

function NoRuns() {
  return (
    <Empty>
      <p>There are no runs in {directory.value} yet. This page shows them as soon as there are:</p>
      <Command text={`espalier search --space nb201 --strategy gdas --data fashion-mnist --out ${directory.value}/first`} />
    </Empty>
  );
}

export function Runs() {
  useEffect(() => {
    void load();
    return follow("/api/stream", { run: changed });
  }, []);
  if (error.value && !runs.value) return <Failure error={error.value} />;
  if (!runs.value) return <Loading what="reading the runs" />;
  if (!runs.value.length) return <NoRuns />;
  const chosen = selected.value;
  const paths = chosen.map((id) => [directory.value, runs.value?.find((r) => r.id === id)?.path ?? ""].filter(Boolean).join("/"));
  return (
    <section>
      <h1 class="hidden">Runs</h1>
      <div class="bar">
        <input
          id="filter"
          type="search"
          aria-label="filter"
          placeholder="filter: status:running strategy:darts acc>0.9"
          value={route.value.query.get("q") ?? ""}
          onInput={(e) => setQuery("q", (e.target as HTMLInputElement).value || null)}
        />
        <span class="secondary">
          {shown.value.length} of {runs.value.length}
        </span>
        {chosen.length > 0 && (
          <>
            <span>{chosen.length} selected</span>
            <a class="button" href={link("compare", "", "", { r: chosen.join(",") })}>
              Compare
            </a>
            <Copy text={`espalier compare ${paths.join(" ")}`} label="Copy command" />
          </>
        )}
      </div>
      <div class="scroll">
        <table class="runs">
          <thead>
            <tr>
              <th scope="col">
                <span class="hidden">Compare</span>
              </th>
              {columns.map((c) => (
                <Header c={c} key={c.key} />
              ))}
            </tr>
          </thead>
          <tbody>
            {shown.value.map((r) => (
              <Row r={r} key={r.id} />
            ))}
          </tbody>
        </table>
      </div>
    </section>
  );
}
