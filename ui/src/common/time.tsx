/** Times that go on by themselves: relative to now, with the absolute time in the tooltip. */
import { Tooltip } from "@mantine/core";
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

/** Now, once a second; all who ask share one clock. */
export function useNow(): number {
  return useSyncExternalStore(watch, () => {
    if (timer === undefined) nowMs = Date.now();
    return Math.floor(nowMs / 1000) * 1000;
  });
}

export function Ago({ at }: { at: string | null }) {
  const now = useNow();
  if (at === null) return <span className="soft">–</span>;
  return (
    <Tooltip label={absolute(at)}>
      <time dateTime={at} className="num">
        {relative(at, now)}
      </time>
    </Tooltip>
  );
}

/** How long something took, or takes until now. */
export function Lasting({ from, to }: { from: string | null; to: string | null }) {
  return from !== null && to === null ? <Running from={from} /> : <Ended from={from} to={to} />;
}

function Running({ from }: { from: string }) {
  return <span className="num">{duration(elapsed(from, null, useNow()) ?? 0)}</span>;
}

function Ended({ from, to }: { from: string | null; to: string | null }) {
  const seconds = elapsed(from, to, 0);
  return seconds === null ? <span className="soft">–</span> : <span className="num">{duration(seconds)}</span>;
}
