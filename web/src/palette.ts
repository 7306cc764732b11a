// Colours by slot; a slot is the same operation in every view. Light and dark were checked for contrast and for the common
// kinds of colour blindness; a dash goes with each, so that colour is never alone.
import { signal } from "@preact/signals";

const light = ["#2064B5", "#D37845", "#085326", "#9A316A", "#209DB6", "#A864FA"];
const dark = ["#72A8FA", "#F1B475", "#208D44", "#F35AA8", "#80ECFA", "#9A4DD7"];
const dashes: number[][] = [[], [8, 4], [2, 3], [12, 4], [8, 3, 2, 3], [4, 4]];

const preference = window.matchMedia("(prefers-color-scheme: dark)");
type Choice = "light" | "dark" | "auto";
function stored(): Choice {
  try {
    return (localStorage.getItem("theme") as Choice | null) ?? "auto";
  } catch {
    return "auto"; // a file that was opened from disk may have no storage
  }
}
const choice = signal<Choice>(stored());
const resolve = (): boolean => choice.value === "dark" || (choice.value === "auto" && preference.matches);
export const isDark = signal(resolve());

function apply(): void {
  isDark.value = resolve();
  document.documentElement.dataset["theme"] = isDark.value ? "dark" : "light";
}
preference.addEventListener("change", apply);
apply();

export function toggleTheme(): void {
  choice.value = isDark.value ? "light" : "dark";
  try {
    localStorage.setItem("theme", choice.value);
  } catch {
    /* no storage: for this page only */
  }
  apply();
}

export interface Look {
  colour: string;
  dash: number[];
}

// Slot 0 is nothing at all, -1 the identity; beyond the sixth the colours repeat with the next dash.
export function look(slot: number): Look {
  const text = isDark.value ? "#E6EAEE" : "#1B2128";
  if (slot === 0) return { colour: isDark.value ? "#6B7682" : "#8A94A0", dash: [1, 4] };
  if (slot < 0) return { colour: text, dash: [6, 3] };
  const colours = isDark.value ? dark : light;
  const i = (slot - 1) % colours.length;
  return { colour: colours[i] ?? text, dash: dashes[(i + Math.floor((slot - 1) / colours.length)) % dashes.length] ?? [] };
}

export const theme = (): { text: string; secondary: string; page: string; panel: string; grid: string; link: string } =>
  isDark.value
    ? { text: "#E6EAEE", secondary: "#9AA6B2", page: "#14181D", panel: "#1C2229", grid: "#2A323B", link: "#6CB2FF" }
    : { text: "#1B2128", secondary: "#5A6572", page: "#FFFFFF", panel: "#F5F7F9", grid: "#E3E7EB", link: "#0B5CAD" };

const ramps = { light: ["#EAF1FA", "#8FB6E0", "#2064B5", "#0B2E5C"], dark: ["#22303F", "#3F6EA6", "#72A8FA", "#D6E6FF"] };
// Of a share from 0 to 1, in steps of the ramp.
export function ramp(x: number): string {
  const colours = isDark.value ? ramps.dark : ramps.light;
  const at = Math.max(0, Math.min(0.9999, x)) * (colours.length - 1);
  const i = Math.floor(at);
  const parse = (c: string): number[] => [1, 3, 5].map((k) => parseInt(c.slice(k, k + 2), 16));
  const a = parse(colours[i] ?? "#000000");
  const b = parse(colours[i + 1] ?? "#000000");
  return "#" + a.map((v, k) => Math.round(v + (at - i) * ((b[k] ?? v) - v)).toString(16).padStart(2, "0")).join("");
}
