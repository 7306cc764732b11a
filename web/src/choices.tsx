// The choices of a space with their probabilities: the readable and keyboard form of the graph.
import { signal } from "@preact/signals";
import { Chart, Swatch } from "./chart";
import * as f from "./format";
import { entropy } from "./graph";
import { Empty } from "./parts";
import type { Frame, RunStore } from "./store";
import type { Mutable } from "./types";

export const focused = signal(0); // id of a mutable
const expanded = signal<Set<number>>(new Set());
const order = signal<"order" | "entropy" | "changed">("order");
const filter = signal("");

interface Line {
  mutable: Mutable;
  place: number;
  p: (number | null)[];
  before: (number | null)[];
}

function change(line: Line): number {
  return Math.max(...line.p.map((v, i) => Math.abs((v ?? 0) - (line.before[i] ?? 0))), 0);
}

export function leading(p: (number | null)[]): number {
  return p.reduce<number>((b, v, i) => ((v ?? -1) > (p[b] ?? -1) ? i : b), 0);
}

export function linesOf(store: RunStore, frame: Frame | null, before: Frame | null): Line[] {
  const places = new Map(store.order.value.map((id, i) => [id, i]));
  return (store.space.value?.mutables ?? []).flatMap((mutable) => {
    const place = places.get(mutable.id);
    const p = place === undefined ? undefined : frame?.p[place];
    return place === undefined || !p ? [] : [{ mutable, place, p, before: before?.p[place] ?? p }];
  });
}

function toggle(id: number): void {
  const next = new Set(expanded.value);
  if (!next.delete(id)) next.add(id);
  expanded.value = next;
}

function History({ store, line }: { store: RunStore; line: Line }) {
  const epochs = [...store.frames.value.keys()].sort((a, b) => a - b);
  const lines = line.mutable.candidates.slice(0, 12).map((c, k) => ({
    label: c.label,
    slot: line.mutable.kind === "layer" ? c.slot : k + 1,
    values: epochs.map((e) => store.frames.value.get(e)?.p[line.place]?.[k] ?? null),
  }));
  return <Chart title={`history of ${line.mutable.key}`} unit="epoch" x={epochs} lines={lines} show={(v) => f.probability(v)} />;
}

function Bar({ share, slot }: { share: number; slot: number }) {
  return (
    <svg class="bar-cell" width="90" height="10" aria-hidden="true">
      <rect x="0" y="1" width="90" height="8" class="track" />
      <rect x="0" y="1" width={Math.max(0, Math.min(1, share)) * 90} height="8" class={`slot-${slot > 0 ? ((slot - 1) % 6) + 1 : slot === 0 ? "none" : "skip"}`} />
    </svg>
  );
}

function Choice({ store, line }: { store: RunStore; line: Line }) {
  const { mutable, p } = line;
  const best = leading(p);
  const candidate = mutable.candidates[best];
  const open = expanded.value.has(mutable.id);
  const slotOf = (k: number): number => (mutable.kind === "layer" ? (mutable.candidates[k]?.slot ?? 1) : k + 1);
  const focus = (): void => {
    focused.value = mutable.id;
  };
  return (
    <>
      <tr class={focused.value === mutable.id ? "chosen" : ""} data-mutable={mutable.id}>
        <th scope="row">
          <button type="button" class="plain" aria-expanded={open} onClick={() => toggle(mutable.id)} onFocus={focus}>
            <span aria-hidden="true">{open ? "▾" : "▸"}</span> {mutable.key}
          </button>
        </th>
        <td>{candidate?.label ?? "–"}</td>
        <td>
          <Bar share={p[best] ?? 0} slot={slotOf(best)} />
        </td>
        <td class="number" data-p={p[best]}>{f.probability(p[best])}</td>
        <td class="number">{f.probability(entropy(p))}</td>
      </tr>
      {open && (
        <tr class="opened">
          <td colSpan={5}>
            <ul class="candidates">
              {mutable.candidates.map((c, k) => (
                <li key={c.name}>
                  <Swatch slot={slotOf(k)} /> {c.label} <b title={String(p[k])}>{f.probability(p[k])}</b>
                </li>
              ))}
            </ul>
            <History store={store} line={line} />
          </td>
        </tr>
      )}
    </>
  );
}

export function Choices({ store, frame, before }: { store: RunStore; frame: Frame | null; before: Frame | null }) {
  const all = linesOf(store, frame, before);
  if (!all.length) return <Empty>This strategy keeps no probabilities for its choices; the scored architectures say what it tried.</Empty>;
  const word = filter.value.toLowerCase();
  const lines = all.filter((l) => l.mutable.key.toLowerCase().includes(word));
  if (order.value === "entropy") lines.sort((a, b) => entropy(b.p) - entropy(a.p));
  if (order.value === "changed") lines.sort((a, b) => change(b) - change(a));
  return (
    <div class="choices">
      <div class="bar">
        <label>
          sort{" "}
          <select value={order.value} onChange={(e) => (order.value = (e.target as HTMLSelectElement).value as typeof order.value)}>
            <option value="order">order</option>
            <option value="entropy">entropy</option>
            <option value="changed">changed</option>
          </select>
        </label>
        <input type="search" aria-label="filter choices" placeholder="filter" value={filter.value} onInput={(e) => (filter.value = (e.target as HTMLInputElement).value)} />
      </div>
      <div class="scroll tall">
        <table>
          <thead>
            <tr>
              <th scope="col">Choice</th>
              <th scope="col">Leads</th>
              <th scope="col">
                <span class="hidden">share</span>
              </th>
              <th scope="col" class="number">
                p
              </th>
              <th scope="col" class="number" title="normalised entropy: 0 decided, 1 undecided">
                H
              </th>
            </tr>
          </thead>
          <tbody>
            {lines.map((l) => (
              <Choice key={l.mutable.id} store={store} line={l} />
            ))}
          </tbody>
        </table>
      </div>
    </div>
  );
}
