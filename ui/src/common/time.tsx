/** Times that go on by themselves: relative to now, with the absolute time in the tooltip. */
import { useSyncExternalStore } from "react";
import { absolute, duration, elapsed, relative } from "@/format/times";

const watchers = new Set<() => void>();
let nowMs = Date.now();
let timer: number | undefined;

function watch(watcher: () => void): () => void {
  watchers.add(watcher);
  timer ??= window.setInterval(() => {
    nowMs = Date.now();
    for (const each of watchers) each();
  }, 1000);
  return () => {
    watchers.delete(watcher);
    if (watchers.size === 0) {
      window.clearInterval(timer);
      timer = undefined;
    }
  };
}

/** What one says of now: asked once a second by one clock, and drawn anew when it is something else. */
function useClock(say: (nowMs: number) => string): string {
  return useSyncExternalStore(watch, () => {
    if (timer === undefined) nowMs = Date.now();
    return say(nowMs);
  });
}

export function Ago({ at }: { at: string | null }) {
  const text = useClock((now) => (at === null ? "" : relative(at, now)));
  if (at === null) return <span className="soft">–</span>;
  return (
    <time dateTime={at} className="num" title={absolute(at)}>
      {text}
    </time>
  );
}

/** How long something took, or takes until now. */
export function Lasting({ from, to }: { from: string | null; to: string | null }) {
  return from !== null && to === null ? <Running from={from} /> : <Ended from={from} to={to} />;
}

function Running({ from }: { from: string }) {
  const text = useClock((now) => duration(elapsed(from, null, now) ?? 0));
  return <span className="num">{text}</span>;
}

function Ended({ from, to }: { from: string | null; to: string | null }) {
  const seconds = elapsed(from, to, 0);
  return seconds === null ? <span className="soft">–</span> : <span className="num">{duration(seconds)}</span>;
}
