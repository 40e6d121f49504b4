import { expect, test } from "vitest";
import { gpusSentence, machinesLine } from "./machines";

const SEED = { gpus: 8, machines: 2, nodes: 2, gpus_per_node: 4, instance_type: "4_v100_16gb", devices: "" };

test("the GPUs of an experiment are told with nodes and machines", () => {
  expect(gpusSentence(SEED)).toBe("8 = 2 nodes × 4 GPUs on 2 machines 4_v100_16gb");
  expect(gpusSentence({ ...SEED, devices: "8 × H100" })).toBe("8 = 2 nodes × 4 GPUs on 2 machines 4_v100_16gb (8 × H100)");
  expect(machinesLine(SEED)).toBe("8 GPUs · 2 nodes × 4");
});

test("a machine without GPUs says so", () => {
  const cpu = { gpus: 0, machines: 1, nodes: 1, gpus_per_node: 0, instance_type: "2_cpu_4gb", devices: "" };
  expect(gpusSentence(cpu)).toBe("none: 1 node on 1 machine 2_cpu_4gb");
  expect(machinesLine(cpu)).toBe("CPU only");
});
