/** Rows of one height, of which only those in view exist. */
import { useLayoutEffect, useRef, useState, type RefObject } from "react";
import { flushSync } from "react-dom";

interface Range {
  first: number;
  last: number;
}

/** The rows that a view of a height shows from an offset on, and some beside them; `last` is below `first` where there is none. */
export function rowsAt(offset: number, height: number, rowHeight: number, overscan: number): Range {
  const top = Math.max(0, offset);
  return { first: Math.max(0, Math.floor(top / rowHeight) - overscan), last: Math.ceil((top + height) / rowHeight) - 1 + overscan };
}

/** Whether rows fly by: twice in a row nothing of what was in view is left. */
export function flights(count: number, before: Range, now: Range): number {
  return now.first > before.last || now.last < before.first ? count + 1 : 0;
}

interface RowsInView extends Range {
  indexes: number[];
  /** They are gone before anybody could read them: it is enough to show that there are some. */
  isFlying: boolean;
}

/** How long nothing moves when a scrolling is over. */
const REST_MS = 90;

/** Follow an element's scrolling, from `begin` on; drawn anew when other rows come into view, not with every step. */
export function useRowsInView(scroller: RefObject<HTMLElement | null>, total: number, rowHeight: number, overscan: number, begin = 0): RowsInView {
  const [view, setView] = useState({ ...rowsAt(begin, window.innerHeight, rowHeight, overscan), flights: 0 });
  const rest = useRef<number>(undefined);
  useLayoutEffect(() => {
    const element = scroller.current!;
    element.scrollTop = begin;
    const look = () => {
      const range = rowsAt(element.scrollTop, element.clientHeight, rowHeight, overscan);
      setView((now) => (now.first === range.first && now.last === range.last ? now : { ...range, flights: flights(now.flights, now, range) }));
    };
    const onScroll = () => {
      // At once: a frame that is drawn before shows an empty place.
      flushSync(look);
      window.clearTimeout(rest.current);
      rest.current = window.setTimeout(() => setView((now) => (now.flights === 0 ? now : { ...now, flights: 0 })), REST_MS);
    };
    const observer = new ResizeObserver(look);
    observer.observe(element);
    element.addEventListener("scroll", onScroll, { passive: true });
    return () => {
      observer.disconnect();
      element.removeEventListener("scroll", onScroll);
      window.clearTimeout(rest.current);
    };
  }, [scroller, rowHeight, overscan]);
  const last = Math.min(view.last, total - 1);
  const first = Math.min(view.first, Math.max(0, last));
  const indexes = Array.from({ length: Math.max(0, last - first + 1) }, (_, position) => first + position);
  return { first, last, indexes, isFlying: view.flights > 1 };
}
