// Some runs side by side.
import { useEffect, useState } from "preact/hooks";
import { useAnswer } from "./answer";
import { get, report } from "./api";
import { Chart, Swatch, type Line } from "./chart";
import * as f from "./format";
import { Empty, Failure, Loading, Status } from "./parts";
import { link, route, setQuery } from "./route";
import type { Comparison } from "./types";

const axes = ["epoch", "time", "evaluations", "images"];

function linesOf(c: Comparison): { x: number[]; lines: Line[] } {
  const scale = c.x === "time" ? 60000 : 1;
  const x = [...new Set(c.runs.flatMap((r) => r.series.x))].sort((a, b) => a - b);
  const place = new Map(x.map((v, i) => [v, i]));
  const lines = c.runs.map((r, k) => {
    const values: (number | null)[] = x.map(() => null);
    r.series.x.forEach((v, i) => (values[place.get(v) ?? 0] = r.series.value[i] ?? null));
    // Runs need not share their x: between its own points a run's line goes on.
    let last: number | null = null;
    const end = r.series.x.at(-1) ?? -1;
    const filled = values.map((v, i) => ((last = v ?? last), (x[i] ?? 0) <= end ? last : null));
    return { label: r.name, slot: k + 1, values: filled };
  });
  return { x: x.map((v) => v / scale), lines };
}

// A report has one comparison, of all its runs: some of them are a part of it.
function partOf(whole: Comparison | null, ids: string[]): Comparison | null {
  if (!whole || !report) return whole;
  const at = ids.map((id) => whole.runs.findIndex((r) => r.id === id)).filter((i) => i >= 0);
  const picked = at.flatMap((i) => whole.runs[i] ?? []);
  const budget = Math.min(...picked.map((r) => r.series.x.at(-1) ?? Infinity));
  const runs = picked.map((r) => {
    const until = r.series.value.filter((v, i): v is number => v !== null && (r.series.x[i] ?? Infinity) <= budget);
    const lower = (r.best?.direction ?? 1) < 0;
    return { ...r, best_at_budget: until.length ? (lower ? Math.min(...until) : Math.max(...until)) : null };
  });
  const differences = whole.differences
    .map((d) => ({ key: d.key, values: at.map((i) => d.values[i]) }))
    .filter((d) => d.values.some((v) => JSON.stringify(v) !== JSON.stringify(d.values[0])));
  return { ...whole, runs, budget: Number.isFinite(budget) ? budget : null, differences };
}

// {a: {b: 1}} -> {"a.b": 1}, as the differences name them.
function flat(value: unknown, prefix = ""): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return { [prefix]: value };
  return Object.assign({}, ...Object.entries(value).map(([k, v]) => flat(v, prefix ? `${prefix}.${k}` : k))) as Record<string, unknown>;
}

function optionsOf(config: unknown): Record<string, unknown> {
  const options = (config as { options?: unknown } | null)?.options; // beside them: versions and the command line
  return flat(options ?? config ?? {});
}

const text = (value: unknown): string => (value === null || value === undefined ? "–" : typeof value === "object" ? JSON.stringify(value) : String(value));

function Networks({ c }: { c: Comparison }) {
  const keys = [...new Set(c.runs.flatMap((r) => Object.keys(r.choices ?? {})))];
  if (!keys.length) return <Empty>None of these runs has exported a network yet.</Empty>;
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Choice</th>
            {c.runs.map((r) => (
              <th scope="col" key={r.id}>{r.name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {keys.map((key) => {
            const values = c.runs.map((r) => text(r.choices?.[key]));
            const same = values.every((v) => v === values[0]);
            return (
              <tr key={key} class={same ? "secondary" : ""}>
                <th scope="row">{key}</th>
                {values.map((v, i) => (
                  <td key={c.runs[i]?.id}>{same ? v : <b>{v}</b>}</td>
                ))}
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

export function Compare() {
  const [all, setAll] = useState(false);
  const ids = route.value.query.get("r") ?? "";
  const x = route.value.query.get("x") ?? "epoch";
  const { answer, error } = useAnswer<Comparison>(ids && "/api/compare", report ? { x } : { runs: ids, x });
  const c = partOf(answer, ids.split(","));
  if (!ids) return <Empty>Pick two or more runs in the <a href={link("runs")}>list of runs</a>, then Compare.</Empty>;
  if (error && !c) return <Failure error={error} />;
  if (!c) return <Loading what="reading the runs" />;
  const { x: xs, lines } = linesOf(c);
  const metric = c.runs[0]?.best?.metric ?? "score";
  const unit = c.x === "time" ? "minutes" : c.x;
  return (
    <section>
      <h1>Compare {c.runs.length} runs</h1>
      <div class="bar" role="group" aria-label="horizontal axis">
        {axes.map((name) => (
          <button type="button" key={name} aria-pressed={x === name} onClick={() => setQuery("x", name)}>{name}</button>
        ))}
      </div>
      <Chart title={metric} unit={unit} x={xs} lines={lines} show={(v) => f.score(v, metric)} />
      <div class="scroll">
        <table class="comparison">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Status</th>
              <th scope="col">Strategy</th>
              <th scope="col">Space</th>
              <th scope="col" class="number">Best</th>
              <th scope="col" class="number">At equal budget</th>
              <th scope="col" class="number">MACs</th>
              <th scope="col" class="number">Time</th>
              <th scope="col" class="number">CPU</th>
              <th scope="col" class="number">Seed</th>
            </tr>
          </thead>
          <tbody>
            {c.runs.map((r, i) => (
              <tr key={r.id}>
                <td><Swatch slot={i + 1} /> <a href={link("run", r.id)}>{r.name}</a></td>
                <td><Status status={r.status} /></td>
                <td>{r.strategy ?? "–"}</td>
                <td>{r.space ?? "–"}</td>
                <td class="number">{f.score(r.best?.score, r.best?.metric)}</td>
                <td class="number">{f.score(r.best_at_budget, r.best?.metric)}</td>
                <td class="number">{f.count(r.best?.macs)}</td>
                <td class="number">{f.duration(r.elapsed_s)}</td>
                <td class="number">{f.duration(r.cpu_s)}</td>
                <td class="number">{text(r.seed)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      </div>
      <p class="secondary">Equal budget: the best of each run up to {c.budget === null ? "–" : f.significant(c.x === "time" ? c.budget / 60000 : c.budget)} {unit}.</p>
      <h2>Configuration</h2>
      <label><input type="checkbox" checked={!all} onChange={() => setAll(!all)} /> only differences</label>
      <Configuration c={c} all={all} />
      <h2>Networks</h2>
      <Networks c={c} />
    </section>
  );
}

function Configuration({ c, all }: { c: Comparison; all: boolean }) {
  const ids = c.runs.map((r) => r.id).join(",");
  const [configs, setConfigs] = useState<Record<string, unknown>[] | null>(null);
  useEffect(() => {
    if (all) void Promise.all(ids.split(",").map((id) => get<{ config: unknown }>(`/api/runs/${id}`))).then((list) => setConfigs(list.map((r) => optionsOf(r.config))));
  }, [all, ids]);
  const rows = all && configs ? [...new Set(configs.flatMap((o) => Object.keys(o)))].sort().map((key) => ({ key, values: configs.map((o) => o[key]) })) : c.differences;
  if (!rows.length) return <Empty>Their configurations are the same.</Empty>;
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Key</th>
            {c.runs.map((r) => (
              <th scope="col" key={r.id}>{r.name}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((row) => (
            <tr key={row.key}>
              <th scope="row">{row.key}</th>
              {row.values.map((v, i) => (
                <td key={c.runs[i]?.id}>{text(v)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
