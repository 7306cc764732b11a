// One run: is it healthy, what is winning, has it collapsed, what did it cost, what next; then curves and supernet.
import { useEffect, useState } from "preact/hooks";
import { Architectures } from "./architectures";
import { Curves } from "./curves";
import * as f from "./format";
import { announce, Command, Failure, Loading, Status } from "./parts";
import { Log, Profile } from "./profile";
import { link, route } from "./route";
import { RunStore } from "./store";
import { Supernet } from "./supernet";
import type { Run as RunInfo } from "./types";

const tabs = [
  ["", "Overview"],
  ["graph", "Supernet"],
  ["arch", "Architectures"],
  ["profile", "Profile"],
  ["log", "Log"],
] as const;

const words = { ok: "OK", watch: "WATCH", broken: "BROKEN" };

function Progress({ run, store }: { run: RunInfo; store: RunStore }) {
  const total = (run.epochs ?? 0) * run.steps_per_epoch;
  const step = Math.max(store.head.value?.step ?? 0, run.step ?? 0);
  const done = total > 0 ? Math.min(1, step / total) : run.epochs ? (run.epoch ?? 0) / run.epochs : 0;
  return (
    <div class="progress">
      <span>epoch {run.epoch ?? 0}{run.epochs ? `/${run.epochs}` : ""}</span>
      <progress value={done} max={1} aria-label="progress" />
      <span>{Math.round(100 * done)} %</span>
      {run.eta_s !== null && run.eta_s !== undefined && <span class="secondary">ETA {f.duration(run.eta_s)}</span>}
    </div>
  );
}

function Answers({ run, store }: { run: RunInfo; store: RunStore }) {
  const last = store.epochs.value.at(-1);
  const best = run.best;
  const stable = last?.rank_stable ?? 0;
  return (
    <dl class="answers">
      <div>
        <dt>Healthy?</dt>
        <dd>
          <b class={`verdict ${run.health.level}`}>{words[run.health.level]}</b>
          {run.health.reasons.map((r) => (
            <div key={r.code} class="small">
              {r.text}
              {r.value !== null && ` ${f.significant(r.value, 3)}`}
              {r.threshold !== null && <span class="secondary"> (limit {f.significant(r.threshold, 3)})</span>}
            </div>
          ))}
        </dd>
      </div>
      <div>
        <dt>Winning</dt>
        <dd>
          <b>{f.score(best?.score, best?.metric)}</b> <span class="secondary">{best ? `${best.split} ${best.metric}, epoch ${best.epoch}` : "nothing scored yet"}</span>
          {best?.macs ? <div class="small">{f.count(best.macs)} MACs, {f.count(best.params)} parameters</div> : null}
        </dd>
      </div>
      <div>
        <dt>Collapsed?</dt>
        <dd>
          <span>skip share <b>{f.probability(last?.skip_share)}</b></span>, <span>entropy <b>{f.probability(last?.entropy)}</b></span>
          {stable > 0 && <div class="small secondary">ranking unchanged for {stable} epochs</div>}
        </dd>
      </div>
      <div>
        <dt>Cost</dt>
        <dd>
          {f.duration(run.elapsed_s)}, CPU {f.duration(run.cpu_s)}
          <div class="small secondary">{f.significant(last?.images_per_s, 3)} images/s, {f.bytes(run.peak_rss_bytes)} at most</div>
        </dd>
      </div>
      <div class="wide">
        <dt>Next</dt>
        <dd>
          {run.advice.length === 0 && <span>nothing to do</span>}
          {run.advice.map((a) => (
            <div key={a.code}>
              {a.text} <span class="secondary">({a.evidence})</span>
              {a.command && <Command text={a.command} />}
            </div>
          ))}
        </dd>
      </div>
    </dl>
  );
}

function Body({ store, tab }: { store: RunStore; tab: string }) {
  switch (tab) {
    case "graph":
      return <Supernet store={store} />;
    case "arch":
      return <Architectures store={store} />;
    case "profile":
      return <Profile store={store} />;
    case "log":
      return <Log store={store} />;
    default:
      return (
        <>
          <Curves store={store} />
          <Supernet store={store} />
        </>
      );
  }
}

export function Run({ id, tab }: { id: string; tab: string }) {
  const [store, setStore] = useState<RunStore | null>(null);
  useEffect(() => {
    const next = new RunStore(id);
    setStore(next);
    return () => next.close();
  }, [id]);
  const run = store?.run.value;
  const status = run?.status;
  useEffect(() => {
    if (run) {
      const share = run.epochs ? Math.round((100 * (run.epoch ?? 0)) / run.epochs) : 0;
      document.title = `${share}% ${f.significant(run.best?.score, 3)} ${run.strategy ?? run.name}`;
    }
  }, [run]);
  useEffect(() => {
    if (status) announce(`run is ${status}`);
  }, [status]);
  if (store?.error.value && !run) return <Failure error={store.error.value} />;
  if (!store || !run) return <Loading what="reading the run" />;
  return (
    <section>
      <div class="head">
        <h1>{run.name}</h1>
        <Status status={run.status} />
        <Progress run={run} store={store} />
      </div>
      {run.status_detail && <p class="notice">{run.status_detail}</p>}
      <Answers run={run} store={store} />
      <nav class="tabs" aria-label="parts of the run">
        {tabs.map(([key, title]) => (
          <a key={key} href={link("run", id, key, Object.fromEntries(route.value.query))} aria-current={tab === key ? "page" : undefined}>
            {title}
          </a>
        ))}
      </nav>
      <Body store={store} tab={tab} />
    </section>
  );
}
