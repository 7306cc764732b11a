// The supernet as a graph on a canvas: laid out once per stage, then only the data of its edges change.
import dagre from "@dagrejs/dagre";
import cytoscape, { type Core, type ElementDefinition } from "cytoscape";
import { look, theme } from "./palette";
import type { Frame } from "./store";
import type { Mutable, Space } from "./types";

const MOST_LAID_OUT = 60;

export interface EdgeLook {
  colour: string;
  dash: number[];
  width: number;
  opacity: number;
}

// Normalised entropy of a choice: 0 certain, 1 undecided.
export function entropy(p: (number | null)[]): number {
  const h = p.reduce<number>((sum, v) => sum - (v && v > 0 ? v * Math.log(v) : 0), 0);
  return p.length > 1 ? h / Math.log(p.length) : 0;
}

// Of an edge that stands for all candidates of a choice.
export function choiceLook(mutable: Mutable, p: (number | null)[]): EdgeLook {
  const best = p.reduce<number>((b, v, i) => ((v ?? 0) > (p[b] ?? 0) ? i : b), 0);
  const { colour, dash } = look(mutable.candidates[best]?.slot ?? 1);
  return { colour, dash, width: 1 + 9 * (p[best] ?? 0), opacity: 0.25 + 0.75 * (1 - entropy(p)) };
}

// Of an edge that is one candidate.
export function candidateLook(mutable: Mutable, index: number, p: number): EdgeLook {
  const { colour, dash } = look(mutable.kind === "layer" ? (mutable.candidates[index]?.slot ?? 1) : 1);
  return { colour, dash, width: 1 + 9 * p, opacity: 0.15 + 0.85 * p };
}

function layout(space: Space, stage: number): Map<number, { x: number; y: number }> {
  const nodes = space.nodes.filter((n) => n.stage === stage);
  const places = new Map<number, { x: number; y: number }>();
  if (nodes.length > MOST_LAID_OUT) {
    const columns = Math.ceil(Math.sqrt(nodes.length * 2));
    nodes.forEach((n, i) => places.set(n.id, { x: (i % columns) * 110, y: Math.floor(i / columns) * 80 }));
    return places;
  }
  const g = new dagre.graphlib.Graph({ multigraph: true });
  g.setGraph({ rankdir: "LR", ranksep: 70, nodesep: 36 });
  g.setDefaultEdgeLabel(() => ({}));
  for (const n of nodes) g.setNode(String(n.id), { width: Math.max(60, n.label.length * 8), height: 34 });
  for (const e of space.edges) if (e.stage === stage) g.setEdge(String(e.source), String(e.target), {}, String(e.id));
  dagre.layout(g);
  for (const n of nodes) {
    const at = g.node(String(n.id)) as { x: number; y: number };
    places.set(n.id, { x: at.x, y: at.y });
  }
  return places;
}

function elements(space: Space, stage: number): ElementDefinition[] {
  const places = layout(space, stage);
  const list: ElementDefinition[] = [];
  for (const n of space.nodes) {
    if (n.stage !== stage) continue;
    list.push({ group: "nodes", data: { id: `n${n.id}`, label: n.label, kind: n.kind, width: Math.max(46, n.label.length * 8) }, position: { ...(places.get(n.id) ?? { x: 0, y: 0 }) } });
  }
  for (const e of space.edges) {
    if (e.stage !== stage) continue;
    list.push({
      group: "edges",
      data: { id: `e${e.id}`, source: `n${e.source}`, target: `n${e.target}`, mutable: e.mutable ?? 0, candidate: e.candidate ?? -1, colour: theme().secondary, width: 1, opacity: 1, style: "solid" },
    });
  }
  return list;
}

function stylesheet(): cytoscape.StylesheetJson {
  const t = theme();
  return [
    {
      selector: "node",
      style: { label: "data(label)", "text-valign": "center", shape: "round-rectangle", width: "data(width)", height: 28, "font-size": 13, color: t.text, "background-color": t.panel, "border-width": 1, "border-color": t.secondary },
    },
    {
      selector: "edge",
      style: { width: "data(width)", opacity: "data(opacity)" as unknown as number, "line-color": "data(colour)", "curve-style": "bezier", "target-arrow-shape": "triangle", "target-arrow-color": "data(colour)", "arrow-scale": 0.8 },
    },
    { selector: 'edge[style="dashed"]', style: { "line-style": "dashed" } },
    { selector: 'edge[style="dotted"]', style: { "line-style": "dotted" } },
    { selector: "edge.focus", style: { "overlay-color": t.link, "overlay-opacity": 0.25, "overlay-padding": 5 } },
  ];
}

export class SupernetGraph {
  readonly cy: Core;
  private readonly mutables: Map<number, Mutable>;

  constructor(container: HTMLElement, space: Space, stage: number, onPick: (mutable: number) => void) {
    this.mutables = new Map(space.mutables.map((m) => [m.id, m]));
    this.cy = cytoscape({ container, elements: elements(space, stage), style: stylesheet(), layout: { name: "preset" }, maxZoom: 4, minZoom: 0.05 });
    this.cy.fit(undefined, 20);
    this.cy.on("tap", "edge", (event) => {
      const id = Number(event.target.data("mutable"));
      if (id) onPick(id);
    });
    this.cy.on("tap", "node", (event) => {
      const id = Number(event.target.incomers("edge").first().data("mutable") ?? 0);
      if (id) onPick(id);
    });
  }

  // Draws the probabilities of one epoch.
  show(frame: Frame | null, order: number[]): void {
    const places = new Map(order.map((id, i) => [id, i]));
    this.cy.batch(() => {
      this.cy.edges().forEach((edge) => {
        const mutable = this.mutables.get(Number(edge.data("mutable")));
        const p = mutable && frame ? frame.p[places.get(mutable.id) ?? -1] : undefined;
        if (!mutable || !p) {
          edge.data({ colour: theme().secondary, width: 1, opacity: 1, style: "solid" });
          return;
        }
        const candidate = Number(edge.data("candidate"));
        const l = candidate >= 0 ? candidateLook(mutable, candidate, p[candidate] ?? 0) : choiceLook(mutable, p);
        edge.data({ colour: l.colour, width: l.width, opacity: l.opacity, style: !l.dash.length ? "solid" : (l.dash[0] ?? 0) < 3 ? "dotted" : "dashed" });
      });
    });
  }

  // The theme has changed.
  restyle(): void {
    this.cy.style(stylesheet());
  }

  focus(mutable: number): void {
    this.cy.edges().removeClass("focus");
    this.cy.edges(`[mutable=${mutable}]`).addClass("focus");
  }

  zoom(factor: number): void {
    this.cy.zoom({ level: this.cy.zoom() * factor, renderedPosition: { x: this.cy.width() / 2, y: this.cy.height() / 2 } });
  }

  fit(): void {
    this.cy.fit(undefined, 20);
  }

  destroy(): void {
    this.cy.destroy();
  }
}
