/** Where a list was scrolled to, for who comes back to it by the browser's own buttons. */
import { useLayoutEffect, useRef, type RefObject } from "react";

const offsets = new Map<string, number>();
let isReturn = false;
window.addEventListener("popstate", () => (isReturn = true));
window.addEventListener("pushState", () => (isReturn = false)); // told by the router

/** Return where to begin; where the list is when it goes is remembered for its address. */
export function useReturn(list: string, scroller: RefObject<HTMLElement | null>): number {
  const place = `${list} ${window.location.pathname}${window.location.search}`;
  const now = useRef(place);
  now.current = place;
  useLayoutEffect(() => {
    const element = scroller.current!;
    return () => void offsets.set(now.current, element.scrollTop);
  }, [scroller]);
  return isReturn ? (offsets.get(place) ?? 0) : 0;
}
