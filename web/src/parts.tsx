// Small pieces that several views use.
import { signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { ApiError } from "./api";

const icons: Record<string, string> = { running: "◉", stalled: "◍", crashed: "✕", stopped: "■", finished: "✓", failed: "!", unreadable: "?" };

export function Status({ status }: { status: string }) {
  return (
    <span class={`status status-${status}`}>
      <span aria-hidden="true">{icons[status] ?? "?"}</span> {status}
    </span>
  );
}

// What a screen reader is told when something happens.
export const announced = signal("");
export function announce(text: string): void {
  announced.value = text;
}

export function Copy({ text, label }: { text: string; label: string }) {
  const copy = (): void => {
    const done = (): void => announce(`${label} copied`);
    if (navigator.clipboard) void navigator.clipboard.writeText(text).then(done, () => window.prompt("Copy:", text));
    else window.prompt("Copy:", text);
  };
  return (
    <button type="button" class="copy" onClick={copy} title={text}>
      {label}
    </button>
  );
}

export function Command({ text }: { text: string }) {
  return (
    <span class="command">
      <code>{text}</code> <Copy text={text} label="Copy" />
    </span>
  );
}

export function Failure({ error }: { error: ApiError }) {
  return (
    <div class="notice" role="alert">
      <p>{error.message}</p>
      {error.hint && <p class="secondary">{error.hint}</p>}
    </div>
  );
}

export function Empty({ children }: { children: ComponentChildren }) {
  return <div class="notice secondary">{children}</div>;
}

export function Loading({ what }: { what: string }) {
  return (
    <div class="loading" aria-busy="true">
      {what} …
    </div>
  );
}
