// The frame around the views: header, keyboard, connection.
import { signal } from "@preact/signals";
import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import { connection, lostAt, report } from "./api";
import { Compare } from "./compare";
import { isDark, toggleTheme } from "./palette";
import { announced } from "./parts";
import { link, route, setQuery } from "./route";
import { Run } from "./run";
import { Runs } from "./runs";
import "./style.css";

const help = signal(false);
const shortcuts = signal(true);

const said = { live: "Live", reconnecting: "Reconnecting", offline: "Offline", report: "Report" };

function Header() {
  const { view, id } = route.value;
  return (
    <header>
      <a href="#main" class="skip" onClick={(e) => (e.preventDefault(), document.getElementById("main")?.focus())}>
        Skip to the content
      </a>
      <a href={link("runs")} class="home">Espalier</a>
      <span class="secondary">{view === "runs" ? "" : `› ${view}${id ? ` › ${id}` : ""}`}</span>
      <span class={`connection ${connection.value}`}>
        <span aria-hidden="true">●</span> {report ? `Report of ${report.date}` : said[connection.value]}
      </span>
      <button type="button" onClick={toggleTheme} aria-pressed={isDark.value}>
        {isDark.value ? "Light" : "Dark"}
      </button>
      <button type="button" onClick={() => (help.value = !help.value)} aria-expanded={help.value} aria-label="help">?</button>
    </header>
  );
}

function Banner() {
  if (connection.value !== "reconnecting") return null;
  return (
    <div class="banner" role="status">
      Connection lost {new Date(lostAt.value).toLocaleTimeString()}; what is shown is from then. It is tried again.{" "}
      <button type="button" onClick={() => location.reload()}>Retry now</button>
    </div>
  );
}

function Help() {
  if (!help.value) return null;
  return (
    <div class="panel help">
      <h2>Keys</h2>
      <ul>
        <li><kbd>/</kbd> filter</li>
        <li><kbd>[</kbd> <kbd>]</kbd> one epoch back, on</li>
        <li><kbd>?</kbd> this help</li>
        <li><kbd>Esc</kbd> closes it</li>
      </ul>
      <label>
        <input type="checkbox" checked={shortcuts.value} onChange={() => (shortcuts.value = !shortcuts.value)} /> single-key shortcuts
      </label>
      <h2>Made with</h2>
      <p class="small">Preact, Cytoscape.js, dagre and uPlot, all under the MIT licence.</p>
    </div>
  );
}

function View() {
  const { view, id, tab } = route.value;
  if (view === "run" && id) return <Run key={id} id={id} tab={tab} />;
  if (view === "compare") return <Compare />;
  return <Runs />;
}

function App() {
  return (
    <>
      <Header />
      <Banner />
      <Help />
      <main id="main" tabIndex={-1}>
        <View />
      </main>
      <div class="hidden" role="status" aria-live="polite">{announced.value}</div>
    </>
  );
}

function onKey(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (event.key === "Escape") help.value = false;
  if (!shortcuts.value || event.ctrlKey || event.metaKey || event.altKey || /^(INPUT|SELECT|TEXTAREA)$/.test(target.tagName)) return;
  if (event.key === "?") help.value = !help.value;
  if (event.key === "/") {
    event.preventDefault();
    document.getElementById("filter")?.focus();
  }
  const slider = document.getElementById("epoch") as HTMLInputElement | null;
  if (slider && (event.key === "[" || event.key === "]")) {
    slider.value = String(Number(slider.value) + (event.key === "]" ? 1 : -1));
    slider.dispatchEvent(new Event("input", { bubbles: true }));
  }
  if (event.key === "Home" && slider && target.tagName === "BODY") setQuery("e", null);
}

document.addEventListener("keydown", onKey);
const root = document.getElementById("app");
if (root) render(<App />, root);
