import { describe, expect, test } from "vitest";
import type { NodeView, RankView, System } from "@/api/types";
import { readUse } from "./use";

const rank = { rank: 5, local_rank: 1, state: "running" } as RankView;
const node = { node: 1, gpus: 4, ranks: Array(4).fill(rank) } as unknown as NodeView;

function system(values: Record<string, number>): System {
  const series = Object.entries(values).map(([name, value]) => ({ name, value, unit: name.endsWith("memory") ? "B" : "%" }));
  return { experiment: "a-exp0", series } as unknown as System;
}

describe("use", () => {
  test("a rank shows its GPU where there is one for each rank, and its processor elsewhere", () => {
    const values = { "rank/5/cpu": 130.4, "rank/5/memory": 300 * 2 ** 20, "gpu/5/use": 97, "gpu/5/memory": 71 * 2 ** 30 };
    expect(readUse(system(values)).ofRank(rank, node)).toEqual({
      share: "97 %",
      percent: 97,
      memory: "71.0 GiB",
      text: "CPU 130 %, memory 300.0 MiB, GPU 97 %, GPU memory 71.0 GiB",
    });
    const one = { ...node, ranks: [rank] };
    expect(readUse(system(values)).ofRank(rank, one)).toMatchObject({ share: "130 %", percent: 100, memory: "300.0 MiB" });
  });

  test("a rank that does not run, and one that nobody has measured, show none", () => {
    expect(readUse(system({ "rank/5/cpu": 1 })).ofRank({ ...rank, state: "succeeded" }, node)).toBeNull();
    expect(readUse(undefined).ofRank(rank, node)).toBeNull();
    expect(readUse(undefined).ofMachine(0)).toBe("");
  });
});
