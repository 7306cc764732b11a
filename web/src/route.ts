// The address says all of the view's state, so that Back works and links can be sent: #/run/ID/graph?e=12&x=time
import { computed, signal } from "@preact/signals";

const hash = signal(location.hash);
window.addEventListener("hashchange", () => {
  hash.value = location.hash;
});

export interface Route {
  view: string;
  id: string;
  tab: string;
  query: URLSearchParams;
}

export const route = computed<Route>(() => {
  const [path = "", query = ""] = hash.value.replace(/^#\/?/, "").split("?");
  const [view = "runs", id = "", tab = ""] = path.split("/");
  return { view: view || "runs", id, tab, query: new URLSearchParams(query) };
});

export function link(view: string, id = "", tab = "", query: Record<string, string> = {}): string {
  const text = new URLSearchParams(query).toString();
  return "#/" + [view, id, tab].filter(Boolean).join("/") + (text ? `?${text}` : "");
}

// Changes one parameter without a new entry in the history.
export function setQuery(key: string, value: string | null): void {
  const { view, id, tab, query } = route.value;
  const next = new URLSearchParams(query);
  if (value === null) next.delete(key);
  else next.set(key, value);
  history.replaceState(null, "", link(view, id, tab, Object.fromEntries(next)));
  hash.value = location.hash;
}
