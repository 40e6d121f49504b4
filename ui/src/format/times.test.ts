import { describe, expect, test } from "vitest";
import { duration, elapsed, relative } from "./times";

const NOW = Date.parse("2026-05-10T12:00:00Z");
const before = (seconds: number) => new Date(NOW - seconds * 1000).toISOString();

describe("times", () => {
  test("a time is told by how long ago it was", () => {
    expect([3, 42, 180, 7200, 100_000, 300_000].map((seconds) => relative(before(seconds), NOW))).toEqual([
      "just now",
      "42 s ago",
      "3 min ago",
      "2 h ago",
      "yesterday",
      "3 days ago",
    ]);
    expect(relative("2026-01-02T12:00:00Z", NOW)).toBe("2 Jan");
    expect(relative("2024-01-02T12:00:00Z", NOW)).toBe("2 Jan 2024");
  });

  test("a duration has as many parts as it needs", () => {
    expect([7, 725, 11_525, 184_325, -3].map(duration)).toEqual(["0:07", "12:05", "3:12:05", "2d 03:12:05", "0:00"]);
  });

  test("what has not begun has no duration, and what has not ended goes on", () => {
    expect(elapsed(null, null, NOW)).toBeNull();
    expect(elapsed(before(90), null, NOW)).toBe(90);
    expect(elapsed(before(90), before(30), NOW)).toBe(60);
  });
});
