/** The lines in view, and a rail that stands for the whole log. */
import { memo, useEffect, useLayoutEffect, useRef, type MouseEvent } from "react";
import type { LogLine } from "@/api/types";
import { useRowsInView } from "@/common/rows";
import { clock } from "@/format/times";
import { plainText } from "./text";
import css from "./logs.module.css";
import type { Log } from "./useLog";
import { fractionAt } from "./window";

const LINE = 19;
const NEAR = 120;
const OVERSCAN = 20;

interface LogViewProps {
  log: Log;
  showRank: boolean;
  showTimes: boolean;
  follow: boolean;
  onFollow: (follow: boolean) => void;
  marked: string | null;
  onMark: (cursor: string) => void;
}

export function LogView({ log, showRank, showTimes, follow, onFollow, marked, onMark }: LogViewProps) {
  const { window, shift, jumps, target } = log;
  const lines = window?.lines ?? [];
  const scroller = useRef<HTMLDivElement>(null);
  const { first, last, indexes } = useRowsInView(scroller, lines.length, LINE, OVERSCAN);

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

  /** A click marks a line, for a link to it; who selects text wants something else. */
  const onClick = (event: MouseEvent) => {
    const cursor = (event.target as Element).closest<HTMLElement>("[data-cursor]")?.dataset.cursor;
    if (cursor !== undefined && document.getSelection()?.isCollapsed !== false) onMark(cursor);
  };

  return (
    <div className={css.view}>
      <div ref={scroller} className={css.lines} onClick={onClick} onWheel={onScroll} onTouchMove={onScroll} onKeyUp={onScroll} tabIndex={0} role="log" aria-live="off" aria-label="Log">
        <div style={{ height: lines.length * LINE, position: "relative", minWidth: "max-content" }}>
          {indexes.map((index) => {
            const line = lines[index]!;
            return <Line key={line.cursor} line={line} top={index * LINE} isMarked={line.cursor === marked} showRank={showRank} showTimes={showTimes} />;
          })}
        </div>
      </div>
      {window && <Rail log={log} top={fractionAt(window, first)} bottom={fractionAt(window, last + 1)} />}
    </div>
  );
}

interface LineProps {
  line: LogLine;
  top: number;
  isMarked: boolean;
  showRank: boolean;
  showTimes: boolean;
}

/** A line is drawn once, not with every step of the scrolling. */
const Line = memo(function Line({ line, top, isMarked, showRank, showTimes }: LineProps) {
  return (
    <div
      className={css.line}
      data-cursor={line.cursor}
      data-marked={isMarked || undefined}
      data-stderr={line.stream === "stderr" || undefined}
      style={{ transform: `translateY(${top}px)` }}
    >
      {showTimes && <time className={css.time}>{clock(line.at)}</time>}
      {showRank && <span className={css.rank}>{line.rank}</span>}
      {plainText(line.text)}
    </div>
  );
});

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
