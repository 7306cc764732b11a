// The curves of a run: loss and scores by step or epoch, and what else its epochs tell.
import { useAnswer } from "./answer";
import { Chart, type Line } from "./chart";
import * as f from "./format";
import { Empty } from "./parts";
import { route, setQuery } from "./route";
import type { RunStore } from "./store";
import type { EpochRow, Metric, Series } from "./types";

const MOST_LINES = 6;
const MOST_POINTS = 1000;

// Curves that are read together: scores, losses, and everything else.
function group(m: Metric): string {
  if (/loss/.test(m.name)) return "loss";
  if (/^(acc|top)/.test(m.name)) return "accuracy";
  return m.name;
}

// One request for many ticks: the stream tells of them twice a second.
function useSteps(store: RunStore, metrics: Metric[], axis: string): Series | null {
  const ids = metrics.map((m) => m.id).join(",");
  const path = ids && `/api/runs/${store.id}/series`;
  return useAnswer<Series>(path, { metrics: ids, x: axis, points: MOST_POINTS }, Math.floor(store.ticks.value / 2)).answer;
}

function StepChart({ store, metrics, axis, title }: { store: RunStore; metrics: Metric[]; axis: string; title: string }) {
  const series = useSteps(store, metrics, axis);
  if (!series) return null;
  const xs = [...new Set(series.series.flatMap((s) => s.columns.x))].sort((a, b) => a - b);
  const place = new Map(xs.map((x, i) => [x, i]));
  const lines: Line[] = series.series.slice(0, MOST_LINES).map((s, k) => {
    const metric = metrics.find((m) => m.id === s.metric);
    const spread = (values: (number | null)[]): (number | null)[] => {
      const out: (number | null)[] = xs.map(() => null);
      s.columns.x.forEach((x, i) => (out[place.get(x) ?? 0] = values[i] ?? null));
      return out;
    };
    return { label: `${metric?.split ?? ""} ${metric?.name ?? ""}`, slot: k + 1, values: spread(s.columns.mean), low: spread(s.columns.min), high: spread(s.columns.max) };
  });
  const x = axis === "time" ? xs.map((v) => v / 60000) : xs;
  return <Chart title={title} unit={axis === "time" ? "minutes" : axis} x={x} lines={lines} show={(v) => f.significant(v)} />;
}

function placeOf(row: EpochRow, axis: string): number {
  return axis === "time" ? row.t_ms / 60000 : axis === "step" ? row.step : row.epoch;
}

function EpochChart({ store, title, lines, show }: { store: RunStore; title: string; lines: { label: string; key: string }[]; show: (v: number | null) => string }) {
  const axis = route.value.query.get("x") ?? "epoch";
  const rows = store.epochs.value;
  const x = rows.map((r) => placeOf(r, axis));
  const unit = axis === "time" ? "minutes" : axis;
  const at = Number(route.value.query.get("e") ?? NaN);
  const cursorRow = rows.find((r) => r.epoch === at);
  const cursor = cursorRow && placeOf(cursorRow, axis);
  const marks = store.notes.value.filter((n) => n.level >= 20 || n.kind === "resume");
  const ticks = marks.flatMap((n) => {
    const row = rows.find((r) => r.epoch === n.epoch);
    return row ? [placeOf(row, axis)] : [];
  });
  const drawn: Line[] = lines.slice(0, MOST_LINES).map((l, i) => ({ label: l.label, slot: i + 1, values: rows.map((r) => r[l.key] ?? null) }));
  if (!drawn.some((l) => l.values.some((v) => v !== null))) return null;
  return <Chart title={title} unit={unit} x={x} lines={drawn} show={show} ticks={ticks} {...(cursor === undefined ? {} : { cursor })} />;
}

const has = (rows: EpochRow[], key: string): boolean => rows.some((r) => r[key] !== null && r[key] !== undefined);

export function Curves({ store }: { store: RunStore }) {
  const metrics = store.run.value?.metrics ?? [];
  const axis = route.value.query.get("x") ?? "epoch";
  const groups = new Map<string, Metric[]>();
  for (const m of metrics) if (m.per === "epoch") groups.set(group(m), [...(groups.get(group(m)) ?? []), m]);
  const stepMetrics = metrics.filter((m) => m.per === "step");
  const rows = store.epochs.value;
  if (!rows.length && !stepMetrics.length) return <Empty>The first epoch has not ended yet.</Empty>;
  return (
    <div>
      <div class="bar" role="group" aria-label="horizontal axis">
        {["epoch", "step", "time"].map((name) => (
          <button type="button" key={name} aria-pressed={axis === name} onClick={() => setQuery("x", name === "epoch" ? null : name)}>
            {name}
          </button>
        ))}
      </div>
      <div class="charts">
        {[...groups].map(([name, list]) => (
          <EpochChart key={name} store={store} title={name} lines={list.map((m) => ({ label: `${m.split} ${m.name}`, key: `m${m.id}` }))} show={(v) => f.score(v, list[0]?.name)} />
        ))}
        {stepMetrics.map((m) => (
          <StepChart key={m.id} store={store} metrics={[m]} axis={axis} title={`${m.name} by step`} />
        ))}
        {(has(rows, "entropy") || has(rows, "skip_share")) && (
          <EpochChart
            store={store}
            title="decision"
            lines={[
              { label: "entropy", key: "entropy" },
              { label: "skip share", key: "skip_share" },
            ]}
            show={(v) => f.probability(v)}
          />
        )}
        {has(rows, "images_per_s") && <EpochChart store={store} title="images per second" lines={[{ label: "images/s", key: "images_per_s" }]} show={(v) => f.significant(v, 3)} />}
      </div>
    </div>
  );
}
