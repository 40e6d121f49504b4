/** Links to the page's own addresses, followed without loading it anew. They are plain <a> elements, wherever they are. */
import type { MouseEvent } from "react";
import { useLocation } from "wouter";

/** Return what handles the clicks of everything below an element. */
export function useLinks(): (event: MouseEvent) => void {
  const [, navigate] = useLocation();
  return (event) => {
    const link = (event.target as Element).closest("a");
    if (link === null || event.defaultPrevented || event.button !== 0) return;
    // Another tab, a file, another part of this page, another host: the browser's.
    if (event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    if (link.target || link.hasAttribute("download") || link.hash || link.origin !== window.location.origin) return;
    event.preventDefault();
    navigate(link.pathname + link.search);
  };
}
