/** How an experiment lies on machines, in one line. */
import { plural } from "./numbers";

interface Shape {
  gpus: number;
  machines: number;
  nodes: number;
  gpus_per_node: number;
}

/** `8 GPUs · 2 nodes × 4`, or `1 node` on a machine without GPUs. */
export function machinesLine({ gpus, machines, nodes, gpus_per_node }: Shape): string {
  if (gpus === 0) return machines === 1 ? "CPU only" : `${plural(machines, "machine")}, CPU only`;
  return nodes === 1 ? plural(gpus, "GPU") : `${plural(gpus, "GPU")} · ${plural(nodes, "node")} × ${gpus_per_node}`;
}

interface Used extends Shape {
  instance_type: string;
  /** The real GPUs; "" where there are none. */
  devices: string;
}

/** The sentence that answers what was used: `8 = 2 nodes × 4 GPUs on 2 machines 4_v100_16gb`, with the real devices. */
export function gpusSentence({ gpus, machines, nodes, gpus_per_node, instance_type, devices }: Used): string {
  const where = `on ${plural(machines, "machine")} ${instance_type}${devices && ` (${devices})`}`;
  if (gpus === 0) return `none: ${plural(nodes, "node")} ${where}`;
  return `${gpus} = ${plural(nodes, "node")} × ${plural(gpus_per_node, "GPU")} ${where}`;
}
