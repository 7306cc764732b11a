// What the server answers (docs/http-api.md).
export type Columns<T> = { [K in keyof T]: T[K][] };

export interface Best {
  score: number | null;
  metric: string | null;
  split: string | null;
  direction: number;
  epoch: number;
  macs: number | null;
  params: number | null;
  latency_ms: number | null;
  latency_kind: number | null;
}

export interface Summary {
  id: string;
  name: string;
  path: string;
  status: string;
  status_detail: string | null;
  kind?: string;
  strategy?: string | null;
  space?: string | null;
  data?: string | null;
  seed?: number;
  created_unix_ms?: number;
  elapsed_s?: number;
  eta_s?: number | null;
  epoch?: number;
  epochs?: number;
  step?: number;
  segment?: number;
  best?: Best | null;
  trend?: number[];
  cpu_s?: number;
  peak_rss_bytes?: number | null;
  notes?: { warn: number; error: number };
}

export interface Metric {
  id: number;
  name: string;
  split: string;
  unit: string;
  direction: number;
  per: "step" | "epoch";
}

export interface Reason {
  code: string;
  text: string;
  value: number | null;
  threshold: number | null;
}

export interface Advice {
  code: string;
  text: string;
  evidence: string | null;
  command: string | null;
}

export interface Run extends Summary {
  config: unknown;
  machine: unknown;
  command: string | null;
  steps_per_epoch: number;
  primary_metric: number;
  metrics: Metric[];
  health: { level: "ok" | "watch" | "broken"; reasons: Reason[] };
  advice: Advice[];
}

export interface Candidate {
  name: string;
  label: string;
  slot: number;
}

export interface Mutable {
  id: number;
  key: string;
  kind: "layer" | "input" | "value";
  chosen_min: number;
  chosen_max: number;
  candidates: Candidate[];
}

export interface Space {
  hash: string | null;
  stages: { id: number; name: string; parent: number | null; repeat: number }[];
  nodes: { id: number; stage: number; label: string; kind: string }[];
  edges: { id: number; stage: number; source: number; target: number; mutable: number | null; candidate: number | null }[];
  mutables: Mutable[];
}

export interface EpochRow {
  epoch: number;
  step: number;
  t_ms: number;
  unix_ms: number;
  entropy: number | null;
  skip_share: number | null;
  rank_stable: number | null;
  images_per_s: number | null;
  [metric: string]: number | null;
}

export interface Probabilities {
  order: number[];
  sizes: number[];
  epochs: number[];
  every: number;
  p: (number | null)[][];
  argmax: (number | null)[][];
  complete: boolean;
  next: number;
}

export interface Series {
  x_unit: string;
  width: number;
  series: { metric: number; bad: number; columns: Columns<{ x: number; min: number | null; mean: number | null; max: number | null; last: number | null; n: number }> }[];
  next: number;
}

export interface Note {
  id: number;
  unix_ms: number;
  segment: number;
  step: number | null;
  epoch: number | null;
  level: number;
  kind: string;
  message: string | null;
}

export interface Cloud {
  metric: number;
  total: number;
  shown: number;
  columns: Columns<{ id: number; evaluation: number; score: number | null; macs: number | null; params: number | null; latency_ms: number | null; latency_kind: number | null; epoch: number; kind: number }>;
  front: number[];
  next: number;
}

export interface Architecture {
  id: number;
  choices: Record<string, string | string[]>;
  evaluations: { epoch: number; score: number | null; kind: number }[];
  cost: { macs: number | null; params: number | null; latency_ms: number | null };
  commands: { retrain: string | null } | null;
}

export interface Compared extends Summary {
  series: Columns<{ x: number; value: number | null }>;
  best_at_budget: number | null;
  choices: Record<string, string | string[]> | null;
}

export interface Comparison {
  x: string;
  budget: number | null;
  runs: Compared[];
  differences: { key: string; values: unknown[] }[];
}
