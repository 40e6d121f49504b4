import { expect, test } from "vitest";
import { gpusSentence, machinesLine } from "./machines";

const SEED = { gpus: 8, machines: 2, nodes: 2, gpus_per_node: 4 };

test("the GPUs of an experiment are told with nodes and machines", () => {
  expect(gpusSentence(SEED, "4_v100_16gb")).toBe("8 = 2 nodes × 4 GPUs on 2 machines 4_v100_16gb");
  expect(machinesLine(SEED)).toBe("8 GPUs · 2 nodes × 4");
});

test("a machine without GPUs says so", () => {
  const cpu = { gpus: 0, machines: 1, nodes: 1, gpus_per_node: 0 };
  expect(gpusSentence(cpu, "2_cpu_4gb")).toBe("none: 1 node on 1 machine 2_cpu_4gb");
  expect(machinesLine(cpu)).toBe("CPU only");
});
