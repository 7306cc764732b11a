// Numbers as people read them; one place, so that every view says the same. Unknown is "–".
const UNKNOWN = "–";
const THIN = "\u2009";

export type Maybe = number | null | undefined;

const known = (x: Maybe): x is number => typeof x === "number" && Number.isFinite(x);

export const percent = (x: Maybe): string => (known(x) ? `${(100 * x).toFixed(2)}${THIN}%` : UNKNOWN);
export const significant = (x: Maybe, digits = 4): string => (known(x) ? String(Number(x.toPrecision(digits))) : UNKNOWN);
export const probability = (x: Maybe): string => (known(x) ? x.toFixed(2).replace(/^0\./, ".") : UNKNOWN);

export function count(x: Maybe): string {
  if (!known(x)) return UNKNOWN;
  for (const [unit, size] of [["G", 1e9], ["M", 1e6], ["k", 1e3]] as const) {
    if (Math.abs(x) >= size) return `${Number((x / size).toPrecision(3))}${THIN}${unit}`;
  }
  return String(Number(x.toPrecision(3)));
}

export const whole = (x: Maybe): string => (known(x) ? Math.round(x).toString().replace(/\B(?=(\d{3})+(?!\d))/g, THIN) : UNKNOWN);

export function bytes(x: Maybe): string {
  if (!known(x)) return UNKNOWN;
  for (const [unit, size] of [["GiB", 2 ** 30], ["MiB", 2 ** 20], ["KiB", 2 ** 10]] as const) {
    if (x >= size) return `${Number((x / size).toPrecision(3))}${THIN}${unit}`;
  }
  return `${x}${THIN}B`;
}

export function duration(seconds: Maybe): string {
  if (!known(seconds)) return UNKNOWN;
  const s = Math.round(seconds);
  if (s < 60) return `${s}${THIN}s`;
  const minutes = Math.round(s / 60);
  if (minutes < 60) return `${minutes}${THIN}min`;
  const hours = Math.floor(minutes / 60);
  if (hours < 24) return `${hours}:${String(minutes % 60).padStart(2, "0")}${THIN}h`;
  return `${Math.floor(hours / 24)}${THIN}d ${hours % 24}${THIN}h`;
}

export const milliseconds = (x: Maybe): string => (known(x) ? `${Number(x.toPrecision(3))}${THIN}ms` : UNKNOWN);

// Accuracies are shares; other scores are what they are.
export function score(x: Maybe, metric: string | null | undefined): string {
  return /^(acc|top|precision|recall|f1)/.test(metric ?? "") ? percent(x) : significant(x);
}

export const clock = (unixMs: Maybe): string => (known(unixMs) ? new Date(unixMs).toLocaleString() : UNKNOWN);
