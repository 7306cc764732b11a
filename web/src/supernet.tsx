// The supernet: graph, choices, heat strip of entropies, and the slider that replays the search.
import { useEffect, useRef, useState } from "preact/hooks";
import { save } from "./chart";
import { Choices, focused, leading, linesOf } from "./choices";
import * as f from "./format";
import { SupernetGraph, entropy } from "./graph";
import { isDark, ramp } from "./palette";
import { Empty } from "./parts";
import { route, setQuery } from "./route";
import type { Frame, RunStore } from "./store";

function Graph({ store, stage, frame }: { store: RunStore; stage: number; frame: Frame | null }) {
  const box = useRef<HTMLDivElement>(null);
  const graph = useRef<SupernetGraph | null>(null);
  const space = store.space.value;
  const dark = isDark.value;
  useEffect(() => {
    if (!box.current || !space) return;
    graph.current = new SupernetGraph(box.current, space, stage, (id) => (focused.value = id));
    return () => graph.current?.destroy();
  }, [space, stage]);
  useEffect(() => graph.current?.restyle(), [dark]);
  useEffect(() => graph.current?.show(frame, store.order.value), [frame, dark, space, stage]);
  useEffect(() => graph.current?.focus(focused.value), [focused.value]);
  const lines = linesOf(store, frame, null);
  const said = lines
    .slice(0, 3)
    .map((l) => `${l.mutable.key} ${l.mutable.candidates[leading(l.p)]?.label ?? ""} ${f.probability(l.p[leading(l.p)])}`)
    .join(", ");
  return (
    <div>
      <div class="bar">
        <button type="button" onClick={() => graph.current?.zoom(0.8)} aria-label="smaller">−</button>
        <button type="button" onClick={() => graph.current?.fit()}>fit</button>
        <button type="button" onClick={() => graph.current?.zoom(1.25)} aria-label="larger">+</button>
        <button type="button" onClick={() => graph.current && save("supernet.png", graph.current.cy.png({ full: true, scale: 2 }) as unknown as string)}>PNG</button>
      </div>
      <div class="graph" id="graph" ref={box} role="img" aria-label={`Supernet with ${lines.length} choices: ${said}. The table of choices says all of it.`} />
    </div>
  );
}

function Heat({ store, epochs }: { store: RunStore; epochs: number[] }) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const n = store.order.value.length;
  const dark = isDark.value;
  useEffect(() => {
    const element = canvas.current;
    const draw = element?.getContext("2d");
    if (!element || !draw || !epochs.length) return;
    element.width = Math.max(epochs.length, 300);
    element.height = Math.max(1, Math.min(200, n * 4));
    const w = element.width / epochs.length;
    const h = element.height / Math.max(1, n);
    epochs.forEach((e, i) => {
      store.frames.value.get(e)?.p.forEach((p, k) => {
        draw.fillStyle = ramp(entropy(p));
        draw.fillRect(i * w, k * h, w + 1, h + 1);
      });
    });
  }, [store.frames.value, n, dark, epochs.length]);
  const go = (event: MouseEvent): void => {
    const box = canvas.current?.getBoundingClientRect();
    if (!box) return;
    const i = Math.floor(((event.clientX - box.left) / box.width) * epochs.length);
    setQuery("e", String(epochs[Math.max(0, Math.min(epochs.length - 1, i))]));
  };
  return <canvas ref={canvas} class="heat" onClick={go} role="img" aria-label="entropy of each choice over the epochs; pale is decided" />;
}

function Slider({ store, epochs, at }: { store: RunStore; epochs: number[]; at: number }) {
  const [speed, setSpeed] = useState(0);
  const pinned = !route.value.query.get("e");
  const index = Math.max(0, epochs.indexOf(at));
  const go = (i: number): void => setQuery("e", String(epochs[Math.max(0, Math.min(epochs.length - 1, i))]));
  useEffect(() => {
    if (!speed) return;
    const timer = window.setInterval(() => {
      const now = epochs.indexOf(Number(route.value.query.get("e") ?? epochs.at(-1)));
      if (now >= epochs.length - 1) setSpeed(0);
      else go(now + 1);
    }, 1000 / speed);
    return () => window.clearInterval(timer);
  }, [speed, epochs.length]);
  const row = store.epochs.value.find((r) => r.epoch === at);
  const total = store.run.value?.epochs ?? at;
  const page = (event: KeyboardEvent): void => {
    if (event.key === "PageUp" || event.key === "PageDown") {
      event.preventDefault();
      go(index + (event.key === "PageUp" ? 10 : -10));
    }
  };
  return (
    <div class="slider">
      <button type="button" aria-label="one epoch back" onClick={() => go(index - 1)}>◀</button>
      <button type="button" aria-label="one epoch on" onClick={() => go(index + 1)}>▶</button>
      <button type="button" aria-pressed={speed > 0} onClick={() => (speed ? setSpeed(0) : (go(index >= epochs.length - 1 ? 0 : index), setSpeed(5)))}>
        {speed ? "Pause" : "Play"}
      </button>
      <select aria-label="epochs per second" value={speed || 5} onChange={(e) => setSpeed(Number((e.target as HTMLSelectElement).value))}>
        {[1, 2, 5, 10].map((s) => (
          <option key={s} value={s}>{s} ×</option>
        ))}
      </select>
      <input
        type="range"
        id="epoch"
        aria-label="epoch"
        min={0}
        max={Math.max(0, epochs.length - 1)}
        step={1}
        value={index}
        aria-valuetext={`epoch ${at} of ${total}, ${f.duration((row?.t_ms ?? 0) / 1000)}`}
        onInput={(e) => go(Number((e.target as HTMLInputElement).value))}
        onKeyDown={page}
      />
      <span class="at">
        epoch {at}
        <span class="secondary"> {f.duration((row?.t_ms ?? 0) / 1000)}</span>
      </span>
      <button type="button" disabled={pinned} onClick={() => setQuery("e", null)}>
        Back to live
      </button>
    </div>
  );
}

export function Supernet({ store }: { store: RunStore }) {
  const space = store.space.value;
  const epochs = [...store.frames.value.keys()].sort((a, b) => a - b);
  const asked = Number(route.value.query.get("e") ?? NaN);
  const at = Number.isFinite(asked) ? asked : (epochs.at(-1) ?? 0);
  const stages = (space?.stages ?? []).filter((s) => space?.nodes.some((n) => n.stage === s.id));
  const stage = Number(route.value.query.get("stage") ?? stages[0]?.id ?? 1);
  useEffect(() => void store.want(at), [at, store]);
  if (!space || !space.mutables.length) return <Empty>This run records no space: a retraining has one network only.</Empty>;
  const frame = store.frameAt(at);
  return (
    <section aria-label="supernet">
      {stages.length > 1 && (
        <label class="bar">
          part{" "}
          <select value={stage} onChange={(e) => setQuery("stage", (e.target as HTMLSelectElement).value)}>
            {stages.map((s) => (
              <option key={s.id} value={s.id}>{s.name}{s.repeat > 1 ? ` × ${s.repeat}` : ""}</option>
            ))}
          </select>
        </label>
      )}
      <div class="halves">
        <Graph store={store} stage={stage} frame={frame} />
        <Choices store={store} frame={frame} before={store.frameAt(at - 1)} />
      </div>
      {epochs.length > 0 && <Heat store={store} epochs={epochs} />}
      {epochs.length > 0 && <Slider store={store} epochs={epochs} at={at} />}
    </section>
  );
}
