// A chart of lines over one axis: band of minimum and maximum, zoom by dragging, values by keyboard, table, CSV and PNG.
import { useEffect, useRef, useState } from "preact/hooks";
import uPlot from "uplot";
import { isDark, look, theme } from "./palette";

export interface Line {
  label: string;
  slot: number;
  values: (number | null)[];
  low?: (number | null)[];
  high?: (number | null)[];
}

interface Props {
  title: string;
  unit: string; // of x
  x: number[];
  lines: Line[];
  show: (value: number | null) => string;
  ticks?: number[]; // where something happened
  cursor?: number; // x of a vertical mark
}

const sync = uPlot.sync("runs");

function colourWith(colour: string, alpha: number): string {
  const [r, g, b] = [1, 3, 5].map((k) => parseInt(colour.slice(k, k + 2), 16));
  return `rgba(${r},${g},${b},${alpha})`;
}

function options(p: Props, width: number, onSet: (i: number | null) => void): uPlot.Options {
  const t = theme();
  const axis = { stroke: t.secondary, grid: { stroke: t.grid, width: 1 }, ticks: { stroke: t.grid }, font: "12px system-ui" };
  const series: uPlot.Series[] = [{ label: p.unit }];
  const bands: uPlot.Band[] = [];
  for (const line of p.lines) {
    const { colour, dash } = look(line.slot);
    const at = series.push({ label: line.label, stroke: colour, width: 2, dash, spanGaps: false, points: { show: p.x.length < 40, size: 5 } }) - 1;
    if (line.low && line.high && p.x.length > 1) {
      series.push({ label: "", stroke: "transparent", width: 0, points: { show: false } }, { label: "", stroke: "transparent", width: 0, points: { show: false } });
      bands.push({ series: [at + 2, at + 1], fill: colourWith(colour.length === 7 ? colour : "#888888", 0.15) });
    }
  }
  return {
    width,
    height: 190,
    series,
    bands,
    scales: { x: { time: false } },
    axes: [axis, { ...axis, size: 68, values: (_u, values) => values.map((v) => p.show(v)) }],
    legend: { show: false },
    cursor: { sync: { key: sync.key, setSeries: false }, drag: { x: true, y: false }, points: { size: 7 } },
    hooks: { setCursor: [(u) => onSet(u.cursor.idx ?? null)], draw: [(u) => drawMarks(u, p)] },
  };
}

function drawMarks(u: uPlot, p: Props): void {
  const t = theme();
  const marks = [...(p.ticks ?? []).map((x) => ({ x, colour: t.secondary })), ...(p.cursor === undefined ? [] : [{ x: p.cursor, colour: t.link }])];
  u.ctx.save();
  for (const mark of marks) {
    const at = u.valToPos(mark.x, "x", true);
    if (at < u.bbox.left || at > u.bbox.left + u.bbox.width) continue;
    u.ctx.strokeStyle = mark.colour;
    u.ctx.beginPath();
    u.ctx.moveTo(at, u.bbox.top);
    u.ctx.lineTo(at, u.bbox.top + u.bbox.height);
    u.ctx.stroke();
  }
  u.ctx.restore();
}

function dataOf(p: Props): uPlot.AlignedData {
  const columns: (number | null)[][] = [];
  for (const line of p.lines) {
    columns.push(line.values);
    if (line.low && line.high && p.x.length > 1) columns.push(line.low, line.high);
  }
  return [p.x, ...columns] as uPlot.AlignedData;
}

export function save(name: string, url: string): void {
  const a = document.createElement("a");
  a.href = url;
  a.download = name;
  a.click();
}

export function saveText(name: string, type: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type }));
  save(name, url);
  window.setTimeout(() => URL.revokeObjectURL(url), 1000);
}

function csvOf(p: Props): string {
  const head = [p.unit, ...p.lines.map((l) => l.label)].join(",");
  return [head, ...p.x.map((x, i) => [x, ...p.lines.map((l) => l.values[i] ?? "")].join(","))].join("\n") + "\n";
}

function Table({ p }: { p: Props }) {
  const from = Math.max(0, p.x.length - 200);
  return (
    <div class="scroll small-table">
      <table>
        <caption class="hidden">{p.title}</caption>
        <thead>
          <tr>
            <th scope="col">{p.unit}</th>
            {p.lines.map((l) => (
              <th scope="col" key={l.label}>{l.label}</th>
            ))}
          </tr>
        </thead>
        <tbody>
          {p.x.slice(from).map((x, i) => (
            <tr key={x}>
              <td class="number">{x}</td>
              {p.lines.map((l) => (
                <td class="number" key={l.label}>{p.show(l.values[from + i] ?? null)}</td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Chart(p: Props) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | null>(null);
  const shape = useRef("");
  const [at, setAt] = useState<number | null>(null);
  const [table, setTable] = useState(false);
  const dark = isDark.value;
  const key = JSON.stringify([p.lines.map((l) => [l.label, l.slot, !!l.low]), dark, p.unit, table, p.x.length > 1, p.x.length < 40]);

  useEffect(() => {
    const element = box.current;
    if (!element) return;
    if (!plot.current || shape.current !== key) {
      plot.current?.destroy();
      plot.current = new uPlot(options(p, element.clientWidth || 300, setAt), dataOf(p), element);
      shape.current = key;
      return;
    }
    const u = plot.current;
    const x = u.scales["x"];
    const data = u.data[0];
    const zoomed = x && data.length > 1 && (x.min !== data[0] || x.max !== data[data.length - 1]);
    u.setData(dataOf(p), !zoomed); // a zoomed chart keeps its range when there is news
    if (zoomed) u.redraw(true);
  });
  useEffect(() => {
    const resize = new ResizeObserver(() => {
      const width = box.current?.clientWidth ?? 0;
      if (plot.current && width > 0 && width !== plot.current.width) plot.current.setSize({ width, height: 190 });
    });
    if (box.current) resize.observe(box.current);
    return () => {
      resize.disconnect();
      plot.current?.destroy();
      plot.current = null;
    };
  }, [table]);

  const move = (event: KeyboardEvent): void => {
    const n = p.x.length;
    const step = { ArrowLeft: -1, ArrowRight: 1, PageUp: -10, PageDown: 10 }[event.key];
    const next = event.key === "Home" ? 0 : event.key === "End" ? n - 1 : step === undefined ? null : (at ?? n - 1) + step;
    if (next === null || !n) return;
    event.preventDefault();
    setAt(Math.max(0, Math.min(n - 1, next)));
  };
  const i = at ?? p.x.length - 1;
  const reading = p.x.length ? `${p.unit} ${p.x[i]}: ` + p.lines.map((l) => `${l.label} ${p.show(l.values[i] ?? null)}`).join(", ") : "nothing measured yet";
  return (
    <figure class="chart" data-chart={p.title}>
      <figcaption>
        <span>{p.title}</span>
        <span class="tools">
          <button type="button" onClick={() => setTable(!table)} aria-pressed={table}>{table ? "Chart" : "Table"}</button>
          <button type="button" onClick={() => saveText(`${p.title}.csv`, "text/csv", csvOf(p))}>CSV</button>
          {!table && <button type="button" onClick={() => box.current && save(`${p.title}.png`, box.current.querySelector("canvas")?.toDataURL() ?? "")}>PNG</button>}
        </span>
      </figcaption>
      {table ? <Table p={p} /> : <div class="plot" ref={box} tabIndex={0} role="img" aria-label={`${p.title}. ${reading}`} onKeyDown={move} />}
      <div class="legend">
        {p.lines.map((l) => (
          <span key={l.label}>
            <Swatch slot={l.slot} /> {l.label} <b>{p.show(l.values[i] ?? null)}</b>
          </span>
        ))}
      </div>
    </figure>
  );
}

export function Swatch({ slot }: { slot: number }) {
  const { colour, dash } = look(slot);
  return (
    <svg class="swatch" width="22" height="8" aria-hidden="true">
      <line x1="0" y1="4" x2="22" y2="4" stroke={colour} stroke-width="3" stroke-dasharray={dash.join(" ")} />
    </svg>
  );
}

export function Sparkline({ values }: { values: number[] }) {
  const known = values.filter((v) => Number.isFinite(v));
  if (known.length < 2) return <span class="secondary">–</span>;
  const low = Math.min(...known);
  const span = Math.max(...known) - low || 1;
  const points = known.map((v, i) => `${((i / (known.length - 1)) * 68 + 1).toFixed(1)},${(15 - ((v - low) / span) * 14).toFixed(1)}`).join(" ");
  return (
    <svg class="spark" width="70" height="16" aria-hidden="true">
      <polyline points={points} fill="none" stroke={look(1).colour} stroke-width="1.5" />
    </svg>
  );
}
