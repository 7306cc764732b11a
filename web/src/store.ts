// One run as the page knows it: read once by cursors, kept up by its stream.
import { signal } from "@preact/signals";
import { ApiError, follow, get } from "./api";
import type { Columns, EpochRow, Note, Probabilities, Run, Space } from "./types";

export interface Frame {
  p: (number | null)[][]; // by place of the mutable in order
  argmax: (number | null)[];
}

function rowsOf<T>(columns: Columns<T>): T[] {
  const keys = Object.keys(columns) as (keyof T)[];
  const first = keys[0];
  if (first === undefined) return [];
  return columns[first].map((_, i) => Object.fromEntries(keys.map((k) => [k, columns[k][i]])) as T);
}

export class RunStore {
  readonly run = signal<Run | null>(null);
  readonly space = signal<Space | null>(null);
  readonly epochs = signal<EpochRow[]>([]);
  readonly notes = signal<Note[]>([]);
  readonly frames = signal<Map<number, Frame>>(new Map());
  readonly order = signal<number[]>([]);
  readonly every = signal(1);
  readonly error = signal<ApiError | null>(null);
  readonly head = signal<{ step: number; loss: number | null } | null>(null);
  // Counts what may have changed the curves of steps.
  readonly ticks = signal(0);
  private stop: (() => void) | null = null;
  private probed = -1;
  private closed = false;
  private readonly path: string;

  constructor(readonly id: string) {
    this.path = `/api/runs/${id}`;
    void this.load();
  }

  close(): void {
    this.closed = true;
    this.stop?.();
  }

  private async load(): Promise<void> {
    try {
      this.run.value = await get<Run>(this.path);
      this.space.value = await get<Space>(`${this.path}/space`);
      const epochs = await get<{ columns: Columns<EpochRow> }>(`${this.path}/epochs`, { limit: 10000 });
      this.epochs.value = rowsOf(epochs.columns);
      this.notes.value = rowsOf((await get<{ columns: Columns<Note> }>(`${this.path}/events`, { limit: 1000 })).columns);
      await this.readProbabilities();
      this.error.value = null;
      if (!this.closed) this.listen();
    } catch (e) {
      if (!(e instanceof ApiError)) throw e;
      this.error.value = e;
      const passing = e.status === 0 || e.status === 503; // the server is gone, or busy
      if (passing && !this.closed) window.setTimeout(() => void this.load(), 2000);
    }
  }

  private listen(): void {
    this.stop?.();
    this.stop = follow(`${this.path}/stream`, {
      epoch: (row: EpochRow) => this.addEpoch(row),
      note: (note: Note) => this.addNote(note),
      head: (head: { step: number; loss: number | null }) => {
        this.head.value = head;
        this.ticks.value++;
      },
      status: () => void this.refresh(),
      reset: () => this.reset(),
    });
  }

  private addEpoch(row: EpochRow): void {
    const last = this.epochs.value.at(-1);
    if (last && row.epoch <= last.epoch) return; // the stream tells from the beginning what is here already
    this.epochs.value = [...this.epochs.value, row];
    this.ticks.value++;
    void this.readProbabilities();
    void this.refresh();
  }

  private addNote(note: Note): void {
    if (!this.notes.value.some((n) => n.id === note.id)) this.notes.value = [...this.notes.value, note];
  }

  private reset(): void {
    this.frames.value = new Map();
    this.epochs.value = [];
    this.notes.value = [];
    this.probed = -1;
    void this.load();
  }

  private async refresh(): Promise<void> {
    try {
      this.run.value = await get<Run>(this.path);
    } catch (e) {
      if (!(e instanceof ApiError)) throw e; // what is shown stays; the banner says that it is old
    }
  }

  private async readProbabilities(): Promise<void> {
    const answer = await get<Probabilities>(`${this.path}/probabilities`, { after: this.probed });
    this.addFrames(answer);
    this.probed = answer.next;
    if (answer.every > 1) this.every.value = answer.every;
  }

  private addFrames(answer: Probabilities): void {
    if (answer.order.length) this.order.value = answer.order;
    const frames = new Map(this.frames.value);
    answer.epochs.forEach((epoch, i) => {
      const flat = answer.p[i] ?? [];
      let at = 0;
      const p = answer.sizes.map((n) => flat.slice(at, (at += n)));
      frames.set(epoch, { p, argmax: answer.argmax[i] ?? [] });
    });
    this.frames.value = frames;
  }

  // An epoch between those that were thinned out.
  private wanted = 0;
  private busy = false;
  async want(epoch: number): Promise<void> {
    this.wanted = epoch;
    if (this.busy || this.frames.value.has(epoch) || this.every.value === 1) return;
    this.busy = true;
    try {
      while (!this.frames.value.has(this.wanted)) {
        const at = this.wanted;
        this.addFrames(await get<Probabilities>(`${this.path}/probabilities`, { after: at - 1, to: at }));
        if (!this.frames.value.has(at)) break;
      }
    } finally {
      this.busy = false;
    }
  }

  frameAt(epoch: number): Frame | null {
    const frames = this.frames.value;
    const exact = frames.get(epoch);
    if (exact) return exact;
    let best = -1;
    for (const e of frames.keys()) if (e <= epoch && e > best) best = e;
    return frames.get(best) ?? null;
  }
}
