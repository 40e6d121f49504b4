import { describe, expect, test } from "vitest";
import type { Series } from "@/api/types";
import { firstNotFinite, merge, xOf } from "./series";
import { smooth } from "./smooth";

const NOTHING = { series: [], cursors: {}, reset: [] };

function series(experiment: string, steps: number[], is_append = false): Series {
  return { experiment, tag: "loss", total: steps.length, start: 100, steps, times: steps.map((step) => 100 + step), values: steps.map((step) => step / 10), not_finite: [], is_append };
}

describe("series", () => {
  test("news are appended or put in place of what was known, as the server says", () => {
    const known = { series: [series("a", [0, 1]), series("b", [0])], cursors: { a: "1", b: "1" }, reset: [] };
    const merged = merge(known, { series: [series("a", [2], true), series("b", [5, 6])], cursors: { a: "2" }, reset: [] });
    expect(merged.series.map((each) => each.steps)).toEqual([[0, 1, 2], [5, 6]]);
    expect(merged.series[0]!.total).toBe(3);
    expect(merged.cursors).toEqual({ a: "2", b: "1" });
  });

  test("an experiment that is new appears", () => {
    expect(merge({ ...NOTHING }, { ...NOTHING, series: [series("a", [0], true)] }).series).toHaveLength(1);
  });

  test("what was named anew is forgotten", () => {
    const known = { ...NOTHING, series: [series("a", [0]), series("b", [0])] };
    const merged = merge(known, { ...NOTHING, series: [{ ...series("a", [0]), tag: "loss (node 1)" }], reset: ["a"] });
    expect(merged.series.map((each) => `${each.experiment} ${each.tag}`)).toEqual(["b loss", "a loss (node 1)"]);
  });

  test("x is the step, the time, or the time since the experiment's start", () => {
    const one = series("a", [0, 5]);
    expect([xOf(one, "step"), xOf(one, "time"), xOf(one, "relative")]).toEqual([[0, 5], [100, 105], [0, 5]]);
  });
});

describe("values that are no numbers", () => {
  test("are told with the step of the first of each series, also when it has come later", () => {
    const strange: Series = { ...series("b", [3, 4], true), values: [null, null], not_finite: [[0, "NaN"], [1, "Infinity"]] };
    const { series: all } = merge({ ...NOTHING, series: [series("a", [0]), series("b", [1, 2])] }, { ...NOTHING, series: [strange] });
    expect(firstNotFinite(all).map(({ of, step, text }) => [of.experiment, step, text])).toEqual([["b", 3, "NaN"]]);
  });
});

describe("smoothing", () => {
  test("starts at the first value and follows with the weight that is asked for", () => {
    const smoothed = smooth([1, 0, 0], 0.5) as number[];
    expect(smoothed[0]).toBeCloseTo(1);
    expect(smoothed[1]).toBeCloseTo(1 / 3);
    expect(smoothed[2]).toBeCloseTo(1 / 7);
  });

  test("keeps gaps, and everything as it is at weight 0", () => {
    expect(smooth([1, null, 1], 0.9)[1]).toBeNull();
    expect(smooth([3, 1], 0)).toEqual([3, 1]);
  });
});
