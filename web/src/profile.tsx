// Where the time goes, what the machine did, and what the run said.
import { signal } from "@preact/signals";
import { useAnswer } from "./answer";
import { Chart } from "./chart";
import * as f from "./format";
import { Command, Empty, Failure, Loading } from "./parts";
import { setQuery } from "./route";
import type { RunStore } from "./store";
import type { Columns } from "./types";

interface OpRow {
  name: string;
  shape: string | null;
  phase: number;
  calls: number;
  ns: number;
  flops: number;
  bytes: number;
}
interface Sample {
  t_ms: number;
  rss_bytes: number | null;
  images_per_s: number | null;
  threads: number | null;
  data_wait_ms: number | null;
}

const phases = ["forward", "backward", "optimiser", "data", "other"];

function Ops({ columns, command }: { columns: Columns<OpRow>; command: string }) {
  const total = columns.ns.reduce((a, b) => a + b, 0);
  if (!total) {
    return (
      <Empty>
        <p>This run did not measure its operations. With --op-times it does:</p>
        <Command text={`${command} --op-times`} />
      </Empty>
    );
  }
  return (
    <div class="scroll">
      <table>
        <thead>
          <tr>
            <th scope="col">Operation</th>
            <th scope="col">Pass</th>
            <th scope="col" class="number">Calls</th>
            <th scope="col" class="number">ms</th>
            <th scope="col" class="number">Share</th>
            <th scope="col" class="number">GFLOP/s</th>
            <th scope="col" class="number">GB/s</th>
          </tr>
        </thead>
        <tbody>
          {columns.name.map((name, i) => (
            <tr key={`${name}${columns.phase[i]}`}>
              <td>{name}</td>
              <td>{phases[columns.phase[i] ?? 4]}</td>
              <td class="number">{f.whole(columns.calls[i])}</td>
              <td class="number">{f.significant((columns.ns[i] ?? 0) / 1e6, 3)}</td>
              <td class="number">{f.percent((columns.ns[i] ?? 0) / total)}</td>
              <td class="number">{f.significant((columns.flops[i] ?? 0) / (columns.ns[i] || 1), 3)}</td>
              <td class="number">{f.significant((columns.bytes[i] ?? 0) / (columns.ns[i] || 1), 3)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Profile({ store }: { store: RunStore }) {
  const path = `/api/runs/${store.id}`;
  const again = store.epochs.value.length;
  const profile = useAnswer<{ columns: Columns<OpRow> }>(`${path}/profile`, {}, again);
  const samples = useAnswer<{ columns: Columns<Sample> }>(`${path}/samples`, {}, again);
  const error = profile.error ?? samples.error;
  if (error && !(profile.answer && samples.answer)) return <Failure error={error} />;
  if (!profile.answer || !samples.answer) return <Loading what="reading the profile" />;
  const s = samples.answer.columns;
  const x = s.t_ms.map((t) => t / 60000);
  return (
    <section aria-label="profile">
      <Ops columns={profile.answer.columns} command={store.run.value?.command ?? "espalier search"} />
      {x.length > 0 && (
        <div class="charts">
          <Chart title="memory" unit="minutes" x={x} lines={[{ label: "resident", slot: 1, values: s.rss_bytes }]} show={f.bytes} />
          <Chart title="speed" unit="minutes" x={x} lines={[{ label: "images/s", slot: 1, values: s.images_per_s }]} show={(v) => f.significant(v, 3)} />
          <Chart title="threads" unit="minutes" x={x} lines={[{ label: "threads", slot: 1, values: s.threads }]} show={f.whole} />
          <Chart title="waiting for data" unit="minutes" x={x} lines={[{ label: "ms in all", slot: 1, values: s.data_wait_ms }]} show={(v) => f.significant(v, 3)} />
        </div>
      )}
    </section>
  );
}

const levels = ["info", "warn", "error"];
const least = signal(0);

export function Log({ store }: { store: RunStore }) {
  const notes = store.notes.value.filter((n) => n.level >= 10 * (least.value + 1));
  return (
    <section aria-label="log">
      <label class="bar">
        level{" "}
        <select value={least.value} onChange={(e) => (least.value = Number((e.target as HTMLSelectElement).value))}>
          {levels.map((l, i) => (
            <option key={l} value={i}>{l}</option>
          ))}
        </select>
      </label>
      {notes.length ? (
        <div class="scroll">
          <table>
            <thead>
              <tr>
                <th scope="col">Time</th>
                <th scope="col">Level</th>
                <th scope="col">Kind</th>
                <th scope="col" class="number">Epoch</th>
                <th scope="col">Message</th>
              </tr>
            </thead>
            <tbody>
              {notes.map((n) => (
                <tr key={n.id}>
                  <td>{f.clock(n.unix_ms)}</td>
                  <td>{levels[n.level / 10 - 1] ?? n.level}</td>
                  <td>{n.kind}</td>
                  <td class="number">
                    {n.epoch ? <button type="button" class="plain" onClick={() => setQuery("e", String(n.epoch))}>{n.epoch}</button> : "–"}
                  </td>
                  <td>{n.message ?? ""}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      ) : (
        <Empty>Nothing to report.</Empty>
      )}
    </section>
  );
}
