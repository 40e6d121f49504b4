/** How much ranks, GPUs and machines are used now, as the grid shows it. */
import type { NodeView, RankView, System } from "@/api/types";
import { withUnit } from "@/format/numbers";

export interface RankUse {
  /** Of its GPU where it has one, else of a processor. */
  share: string;
  /** The same for a bar, at most 100. */
  percent: number;
  /** Of its GPU where it has one, else its own. */
  memory: string;
  /** All of it. */
  text: string;
}

export interface Use {
  ofRank: (rank: RankView, node: NodeView) => RankUse | null;
  ofMachine: (machine: number) => string;
  /** A measured value with its unit; null: nothing is measured now. */
  of: (name: string) => string | null;
}

/** Make what the server has measured last answer for each rank; what has ended is used no more. */
export function readUse(system: System | undefined): Use {
  const rows = new Map((system?.series ?? []).map((row) => [row.name, row]));
  const of = (name: string) => {
    const row = rows.get(name);
    return row === undefined ? null : withUnit(row.value, row.unit);
  };
  return {
    of,
    ofMachine: (machine) => [of(`machine/${machine}/cpu`), of(`machine/${machine}/memory`)].filter((part) => part !== null).join(" · "),
    ofRank: (rank, node) => {
      const cpu = rows.get(`rank/${rank.rank}/cpu`);
      if (rank.state !== "running" || cpu === undefined) return null;
      const gpu = gpuOf(rank, node);
      const share = rows.get(`gpu/${gpu}/use`) ?? cpu;
      const memory = of(`gpu/${gpu}/memory`) ?? of(`rank/${rank.rank}/memory`) ?? "";
      const parts = [
        ["CPU", of(`rank/${rank.rank}/cpu`)],
        ["memory", of(`rank/${rank.rank}/memory`)],
        ["GPU", of(`gpu/${gpu}/use`)],
        ["GPU memory", of(`gpu/${gpu}/memory`)],
      ];
      const text = parts.filter(([, value]) => value !== null).map((part) => part.join(" ")).join(", ");
      return { share: withUnit(share.value, "%"), percent: Math.min(100, share.value), memory, text };
    },
  };
}

/** The number of a rank's GPU in the gang; null where GPUs are not one for each rank of a node. */
export function gpuOf(rank: RankView, node: NodeView): number | null {
  return node.gpus === node.ranks.length ? node.node * node.gpus + rank.local_rank : null;
}
