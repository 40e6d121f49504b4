import { describe, expect, test } from "vitest";
import type { LogPage } from "@/api/types";
import { append, fractionAt, prepend } from "./window";

function page(from: number, to: number, all = 1000): LogPage {
  const lines = Array.from({ length: to - from }, (_, i) => ({
    cursor: `c${from + i}`,
    end: `c${from + i + 1}`,
    generation: 1,
    rank: 0,
    stream: "stdout",
    at: "2026-01-01T00:00:00Z",
    text: `line ${from + i}`,
  }));
  return {
    attempt: 1,
    attempts: [1],
    lines,
    before: `c${from}`,
    after: `c${to}`,
    at_start: from === 0,
    at_end: to === all,
    start_fraction: from / all,
    end_fraction: to / all,
    size: all,
    final: false,
  };
}

describe("the window of a log", () => {
  test("what follows is added, and what is too much is cut at the beginning", () => {
    const { window, cut } = append(page(0, 60), page(60, 120), 100);
    expect(cut).toBe(20);
    expect(window.lines[0]!.text).toBe("line 20");
    expect(window.lines.at(-1)!.text).toBe("line 119");
    expect([window.before, window.after, window.at_start]).toEqual(["c20", "c120", false]);
    expect(window.start_fraction).toBeCloseTo(0.02);
  });

  test("what comes before is added, and what is too much is cut at the end", () => {
    const { window, added } = prepend(page(940, 1000), page(880, 940), 100);
    expect(added).toBe(60);
    expect(window.lines[0]!.text).toBe("line 880");
    expect(window.lines).toHaveLength(100);
    expect([window.before, window.after, window.at_end]).toEqual(["c880", "c980", false]);
    expect(window.end_fraction).toBeCloseTo(0.98);
  });

  test("an answer with nothing new keeps everything", () => {
    const { window, cut } = append(page(900, 1000), { ...page(1000, 1000), at_start: false });
    expect(cut).toBe(0);
    expect(window.lines).toHaveLength(100);
    expect(window.before).toBe("c900");
  });

  test("a line's place in the whole log is known", () => {
    expect(fractionAt(page(500, 600), 50)).toBeCloseTo(0.55);
    expect(fractionAt(page(0, 0), 0)).toBe(0);
  });
});
