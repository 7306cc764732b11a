// Scored architectures: the cloud, its front, and each one's choices.
import { useEffect, useRef, useState } from "preact/hooks";
import { useAnswer } from "./answer";
import { saveText } from "./chart";
import * as f from "./format";
import { isDark, look, ramp, theme } from "./palette";
import { Command, Copy, Empty, Failure, Loading } from "./parts";
import { route, setQuery } from "./route";
import type { RunStore } from "./store";
import type { Architecture, Cloud } from "./types";

type Cost = "macs" | "params" | "latency_ms";
const titles: Record<Cost, string> = { macs: "MACs", params: "parameters", latency_ms: "latency" };
const showCost: Record<Cost, (x: number | null | undefined) => string> = { macs: f.count, params: f.count, latency_ms: f.milliseconds };
const kinds = ["supernet", "derived", "retrained"];

interface Box {
  x0: number;
  x1: number;
  y0: number;
  y1: number;
}

interface View {
  xs: (number | null)[];
  toX: (v: number) => number;
  toY: (v: number) => number;
  fromX: (px: number) => number;
  fromY: (px: number) => number;
}

const PAD = { left: 64, right: 12, top: 10, bottom: 30 };

function viewOf(cloud: Cloud, cost: Cost, width: number, height: number): View | null {
  const xs = cloud.columns[cost];
  const both = xs.flatMap((x, i) => (x !== null && cloud.columns.score[i] !== null ? [[x, cloud.columns.score[i] as number] as const] : []));
  if (!both.length) return null;
  let [x0, x1, y0, y1] = [Infinity, -Infinity, Infinity, -Infinity];
  for (const [x, y] of both) {
    x0 = Math.min(x0, x);
    x1 = Math.max(x1, x);
    y0 = Math.min(y0, y);
    y1 = Math.max(y1, y);
  }
  const log = x0 > 0 && x1 / x0 > 50;
  const t = (v: number): number => (log ? Math.log(v) : v);
  const back = (v: number): number => (log ? Math.exp(v) : v);
  const [a, b] = [t(x0), t(x1)];
  const padX = (b - a || 1) * 0.05;
  const padY = (y1 - y0 || 0.01) * 0.05;
  const w = width - PAD.left - PAD.right;
  const h = height - PAD.top - PAD.bottom;
  const spanX = b - a + 2 * padX;
  const spanY = y1 - y0 + 2 * padY;
  return {
    xs,
    toX: (v) => PAD.left + ((t(v) - a + padX) / spanX) * w,
    toY: (v) => PAD.top + h - ((v - y0 + padY) / spanY) * h,
    fromX: (px) => back(((px - PAD.left) / w) * spanX + a - padX),
    fromY: (py) => ((PAD.top + h - py) / h) * spanY + y0 - padY,
  };
}

function drawAxes(draw: CanvasRenderingContext2D, v: View, cost: Cost, metric: string, width: number, height: number): void {
  const t = theme();
  draw.font = "12px system-ui";
  draw.fillStyle = t.secondary;
  draw.strokeStyle = t.grid;
  for (let i = 0; i <= 4; i++) {
    const px = PAD.left + ((width - PAD.left - PAD.right) * i) / 4;
    const py = PAD.top + ((height - PAD.top - PAD.bottom) * i) / 4;
    draw.beginPath();
    draw.moveTo(PAD.left, py);
    draw.lineTo(width - PAD.right, py);
    draw.stroke();
    draw.textAlign = "right";
    draw.fillText(f.score(v.fromY(py), metric), PAD.left - 6, py + 4);
    draw.textAlign = i === 4 ? "right" : "center";
    draw.fillText(showCost[cost](v.fromX(px)), px, height - 10);
  }
}

function drawCloud(canvas: HTMLCanvasElement, cloud: Cloud, cost: Cost, metric: string, box: Box | null): View | null {
  const scale = window.devicePixelRatio || 1;
  const width = canvas.clientWidth || 600;
  const height = 340;
  canvas.width = width * scale;
  canvas.height = height * scale;
  const draw = canvas.getContext("2d");
  const v = viewOf(cloud, cost, width, height);
  if (!draw || !v) return v;
  draw.scale(scale, scale);
  drawAxes(draw, v, cost, metric, width, height);
  const { score, epoch, kind, evaluation, latency_kind } = cloud.columns;
  const last = Math.max(1, ...epoch.slice(-1), 1);
  score.forEach((y, i) => {
    const x = v.xs[i];
    if (x === null || x === undefined || y === null) return;
    draw.globalAlpha = kind[i] === 0 ? 0.35 : 1;
    draw.fillStyle = draw.strokeStyle = kind[i] === 2 ? look(2).colour : ramp(0.25 + (0.75 * (epoch[i] ?? 0)) / last);
    const hollow = cost === "latency_ms" && latency_kind[i] === 1;
    if (hollow) draw.strokeRect(v.toX(x) - 1.5, v.toY(y) - 1.5, 3, 3);
    else draw.fillRect(v.toX(x) - 1.5, v.toY(y) - 1.5, 3, 3);
    if (kind[i] === 1) {
      draw.beginPath();
      draw.arc(v.toX(x), v.toY(y), 5, 0, 2 * Math.PI);
      draw.stroke();
    }
  });
  draw.globalAlpha = 1;
  const place = new Map(evaluation.map((id, i) => [id, i]));
  draw.strokeStyle = theme().text;
  draw.lineWidth = 2;
  draw.beginPath();
  let previous: number | null = null;
  for (const id of cloud.front) {
    const i = place.get(id);
    const x = i === undefined ? null : v.xs[i];
    const y = i === undefined ? null : score[i];
    if (x === null || x === undefined || y === null || y === undefined) continue;
    if (previous === null) draw.moveTo(v.toX(x), v.toY(y));
    else draw.lineTo(v.toX(x), previous), draw.lineTo(v.toX(x), v.toY(y));
    previous = v.toY(y);
  }
  draw.stroke();
  if (box) {
    draw.strokeStyle = theme().link;
    draw.lineWidth = 1;
    draw.strokeRect(Math.min(box.x0, box.x1), Math.min(box.y0, box.y1), Math.abs(box.x1 - box.x0), Math.abs(box.y1 - box.y0));
  }
  return v;
}

function inside(cloud: Cloud, v: View | null, box: Box | null): number[] {
  const all = cloud.columns.score.map((_, i) => i);
  if (!box || !v) return all;
  return all.filter((i) => {
    const x = v.xs[i];
    const y = cloud.columns.score[i];
    if (x === null || x === undefined || y === null || y === undefined) return false;
    const [px, py] = [v.toX(x), v.toY(y)];
    return px >= Math.min(box.x0, box.x1) && px <= Math.max(box.x0, box.x1) && py >= Math.min(box.y0, box.y1) && py <= Math.max(box.y0, box.y1);
  });
}

function Detail({ store, id, metric }: { store: RunStore; id: number; metric: string }) {
  const { answer: one, error } = useAnswer<Architecture>(`/api/runs/${store.id}/architectures/${id}`);
  if (error && !one) return <Failure error={error} />;
  if (!one) return <Loading what="reading the architecture" />;
  const json = JSON.stringify(one.choices, null, 2);
  return (
    <div class="panel">
      <h3>Architecture {one.id}</h3>
      <p>
        {one.evaluations.map((e) => `${kinds[e.kind] ?? ""} ${f.score(e.score, metric)} in epoch ${e.epoch}`).join("; ")}
      </p>
      <ul class="chosen-list">
        {Object.entries(one.choices).map(([key, value]) => (
          <li key={key}>
            <span class="secondary">{key}</span> {Array.isArray(value) ? value.join(", ") : value}
          </li>
        ))}
      </ul>
      <pre class="json">{json}</pre>
      <p class="bar">
        <Copy text={json} label="Copy JSON" />
        <button type="button" onClick={() => saveText(`architecture-${one.id}.json`, "application/json", json + "\n")}>
          Save architecture-{one.id}.json
        </button>
      </p>
      {one.commands?.retrain && <Command text={one.commands.retrain} />}
    </div>
  );
}

export function Architectures({ store }: { store: RunStore }) {
  const [box, setBox] = useState<Box | null>(null);
  const [picked, setPicked] = useState(0);
  const canvas = useRef<HTMLCanvasElement>(null);
  const view = useRef<View | null>(null);
  const dragging = useRef(false);
  const cost = (route.value.query.get("cost") ?? "macs") as Cost;
  const kind = route.value.query.get("kind") ?? "all";
  const dark = isDark.value;
  const epochs = store.epochs.value.length;
  const { answer: cloud, error } = useAnswer<Cloud>(`/api/runs/${store.id}/architectures`, { x: cost, kind }, epochs);
  const metric = store.run.value?.metrics.find((m) => m.id === cloud?.metric)?.name ?? "";
  const lower = (store.run.value?.metrics.find((m) => m.id === cloud?.metric)?.direction ?? 1) < 0;
  useEffect(() => {
    if (canvas.current && cloud) view.current = drawCloud(canvas.current, cloud, cost, metric, box);
  }, [cloud, cost, box, dark, metric]);
  if (error && !cloud) return <Failure error={error} />;
  if (!cloud) return <Loading what="reading the architectures" />;
  if (!cloud.total) return <Empty>No architecture has been scored yet.</Empty>;
  const c = cloud.columns;
  const hasCost = c[cost].some((v) => v !== null);
  const list = inside(cloud, view.current, box).sort((a, b) => (lower ? 1 : -1) * ((c.score[a] ?? -Infinity) - (c.score[b] ?? -Infinity)));
  const down = (e: PointerEvent): void => {
    dragging.current = true;
    setBox({ x0: e.offsetX, x1: e.offsetX, y0: e.offsetY, y1: e.offsetY });
  };
  const move = (e: PointerEvent): void => {
    if (dragging.current && box) setBox({ ...box, x1: e.offsetX, y1: e.offsetY });
  };
  const up = (): void => {
    dragging.current = false;
    if (box && Math.abs(box.x1 - box.x0) < 3 && Math.abs(box.y1 - box.y0) < 3) setBox(null);
  };
  const csv = ["id,score,macs,params,latency_ms,epoch,kind", ...list.map((i) => [c.id[i], c.score[i] ?? "", c.macs[i] ?? "", c.params[i] ?? "", c.latency_ms[i] ?? "", c.epoch[i], kinds[c.kind[i] ?? 0]].join(","))].join("\n") + "\n";
  return (
    <section aria-label="architectures">
      <div class="bar">
        <label>
          cost{" "}
          <select value={cost} onChange={(e) => setQuery("cost", (e.target as HTMLSelectElement).value)}>
            {(Object.keys(titles) as Cost[]).map((k) => (
              <option key={k} value={k}>{titles[k]}</option>
            ))}
          </select>
        </label>
        <label>
          kind{" "}
          <select value={kind} onChange={(e) => setQuery("kind", (e.target as HTMLSelectElement).value)}>
            {["all", ...kinds].map((k) => (
              <option key={k} value={k}>{k}</option>
            ))}
          </select>
        </label>
        <span class="secondary">{f.whole(cloud.shown)} of {f.whole(cloud.total)} shown, {cloud.front.length} on the front</span>
      </div>
      {hasCost ? (
        <canvas ref={canvas} class="cloud" role="img" aria-label={`${metric} against ${titles[cost]} of ${cloud.shown} architectures; the table below lists them`} onPointerDown={down} onPointerMove={move} onPointerUp={up} />
      ) : (
        <Empty>The {titles[cost]} of these architectures are not recorded{cost === "latency_ms" ? "; a search under --limit latency= measures it" : ""}.</Empty>
      )}
      <div class="bar">
        <span>{box ? `${list.length} selected` : "drag over the picture to select"}</span>
        {box && <button type="button" onClick={() => setBox(null)}>All</button>}
        <Copy text={csv} label="Copy CSV" />
      </div>
      <div class="halves">
        <div class="scroll tall">
          <table>
            <thead>
              <tr>
                <th scope="col">Architecture</th>
                <th scope="col" class="number">{metric}</th>
                <th scope="col" class="number">MACs</th>
                <th scope="col" class="number">Parameters</th>
                <th scope="col" class="number">Latency</th>
                <th scope="col" class="number">Epoch</th>
                <th scope="col">Kind</th>
              </tr>
            </thead>
            <tbody>
              {list.slice(0, 200).map((i) => (
                <tr key={c.evaluation[i]} class={picked === c.id[i] ? "chosen" : ""}>
                  <td>
                    <button type="button" class="plain" onClick={() => setPicked(c.id[i] ?? 0)}>{c.id[i]}</button>
                  </td>
                  <td class="number">{f.score(c.score[i], metric)}</td>
                  <td class="number">{f.count(c.macs[i])}</td>
                  <td class="number">{f.count(c.params[i])}</td>
                  <td class="number">{f.milliseconds(c.latency_ms[i])}{c.latency_ms[i] ? (c.latency_kind[i] === 2 ? " meas." : " pred.") : ""}</td>
                  <td class="number">{c.epoch[i]}</td>
                  <td>{kinds[c.kind[i] ?? 0]}</td>
                </tr>
              ))}
            </tbody>
          </table>
          {list.length > 200 && <p class="secondary">the best 200 of {f.whole(list.length)}</p>}
        </div>
        {picked ? <Detail store={store} id={picked} metric={metric} /> : <Empty>Pick an architecture to see its choices.</Empty>}
      </div>
    </section>
  );
}
