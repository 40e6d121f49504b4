/** The lines in view, and a rail that stands for the whole log. */
import { useVirtualizer } from "@tanstack/react-virtual";
import { useEffect, useLayoutEffect, useRef, type MouseEvent } from "react";
import { clock } from "@/format/times";
import { plainText } from "./text";
import css from "./logs.module.css";
import type { Log } from "./useLog";
import { fractionAt } from "./window";

const LINE = 19;
const NEAR = 120;

interface LogViewProps {
  log: Log;
  showRank: boolean;
  showTimes: boolean;
  follow: boolean;
  onFollow: (follow: boolean) => void;
  marked: string | null;
}

export function LogView({ log, showRank, showTimes, follow, onFollow, marked }: LogViewProps) {
  const { window, shift, jumps, target } = log;
  const lines = window?.lines ?? [];
  const scroller = useRef<HTMLDivElement>(null);
  const rows = useVirtualizer({
    count: lines.length,
    getScrollElement: () => scroller.current,
    estimateSize: () => LINE,
    overscan: 30,
  });
  const items = rows.getVirtualItems();
  const first = items[0]?.index ?? 0;
  const last = items.at(-1)?.index ?? 0;

  // Lines that came or went above must not move those in view.
  useLayoutEffect(() => {
    if (scroller.current && shift !== 0) scroller.current.scrollTop += shift * LINE;
  }, [window, shift]);

  useLayoutEffect(() => {
    if (scroller.current === null || window === null) return;
    if (target === "end") scroller.current.scrollTop = scroller.current.scrollHeight;
    else if (target === "start") scroller.current.scrollTop = 0;
    else {
      const index = window.lines.findIndex((line) => line.cursor === target);
      const place = index < 0 ? Math.floor(window.lines.length / 2) : index;
      scroller.current.scrollTop = Math.max(0, place * LINE - scroller.current.clientHeight / 3);
    }
  }, [jumps]);

  useLayoutEffect(() => {
    if (follow && scroller.current) scroller.current.scrollTop = scroller.current.scrollHeight;
  }, [follow, window]);

  useEffect(() => {
    if (lines.length === 0) return;
    if (first < NEAR) log.loadBefore();
    if (last > lines.length - NEAR && !window?.at_end) log.loadAfter();
  }, [first, last, lines.length]);

  const onScroll = () => {
    const element = scroller.current;
    if (element === null || window === null) return;
    const isAtEnd = element.scrollHeight - element.scrollTop - element.clientHeight < LINE;
    if (follow && !isAtEnd) onFollow(false);
  };

  return (
    <div className={css.view}>
      <div ref={scroller} className={css.lines} onWheel={onScroll} onTouchMove={onScroll} onKeyUp={onScroll} tabIndex={0} role="log" aria-live="off" aria-label="Log">
        <div style={{ height: rows.getTotalSize(), position: "relative", minWidth: "max-content" }}>
          {items.map((item) => {
            const line = lines[item.index]!;
            return (
              <div
                key={item.key}
                className={css.line}
                data-marked={line.cursor === marked || undefined}
                data-stderr={line.stream === "stderr" || undefined}
                style={{ transform: `translateY(${item.start}px)` }}
              >
                {showTimes && <time className={css.time}>{clock(line.at)}</time>}
                {showRank && <span className={css.rank}>{line.rank}</span>}
                <span>{plainText(line.text)}</span>
              </div>
            );
          })}
        </div>
      </div>
      {window && <Rail log={log} top={fractionAt(window, first)} bottom={fractionAt(window, last + 1)} />}
    </div>
  );
}

/** Where in the whole log one is; a click goes there. */
function Rail({ log, top, bottom }: { log: Log; top: number; bottom: number }) {
  const go = (event: MouseEvent<HTMLDivElement>) => {
    const box = event.currentTarget.getBoundingClientRect();
    const fraction = Math.min(1, Math.max(0, (event.clientY - box.top) / box.height));
    void log.jump(fraction <= 0.005 ? "start" : fraction >= 0.995 ? "end" : fraction.toFixed(4));
  };
  return (
    <div className={css.rail} onClick={go} aria-hidden>
      <span style={{ top: `${top * 100}%`, height: `max(${(bottom - top) * 100}%, 14px)` }} />
    </div>
  );
}
