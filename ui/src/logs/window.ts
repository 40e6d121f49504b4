/** The part of a log that is loaded: it grows at both ends, and is cut at the other, so that its size is bounded. */
import type { LogPage } from "@/api/types";

/** Most lines that are kept. */
export const MOST = 6000;

/** Add a page that follows. Returns the page and how many lines were cut at the beginning. */
export function append(window: LogPage, page: LogPage, most = MOST): { window: LogPage; cut: number } {
  const lines = [...window.lines, ...page.lines];
  const cut = Math.max(0, lines.length - most);
  const kept = lines.slice(cut);
  return {
    cut,
    window: {
      ...page,
      lines: kept,
      before: cut > 0 ? kept[0]!.cursor : window.before,
      at_start: cut > 0 ? false : window.at_start,
      start_fraction: cut > 0 ? between(window.start_fraction, page.end_fraction, cut / lines.length) : window.start_fraction,
    },
  };
}

/** Add a page that comes before. Returns the page and how many lines were added at the beginning. */
export function prepend(window: LogPage, page: LogPage, most = MOST): { window: LogPage; added: number } {
  const lines = [...page.lines, ...window.lines];
  const kept = lines.slice(0, most);
  const isCut = kept.length < lines.length;
  return {
    added: page.lines.length,
    window: {
      ...window,
      lines: kept,
      before: page.before,
      at_start: page.at_start,
      start_fraction: page.start_fraction,
      after: isCut ? lines[most]!.cursor : window.after,
      at_end: isCut ? false : window.at_end,
      end_fraction: isCut ? between(page.start_fraction, window.end_fraction, most / lines.length) : window.end_fraction,
    },
  };
}

/** Where in the whole log the line at a position of the window lies, from 0 to 1. */
export function fractionAt(window: LogPage, index: number): number {
  if (window.lines.length === 0) return 0;
  return between(window.start_fraction, window.end_fraction, index / window.lines.length);
}

function between(from: number, to: number, part: number): number {
  return from + (to - from) * part;
}
