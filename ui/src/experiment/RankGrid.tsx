/** Every rank as a cell, inside its node, inside its machine. */
import { Tooltip } from "@mantine/core";
import type { MachinePlacement, NodeView, RankView } from "@/api/types";
import { Ago } from "@/common/time";
import { mebibytes, plural } from "@/format/numbers";
import { logsPage } from "@/format/places";
import { stateColor } from "@/format/states";
import css from "./ranks.module.css";
import type { RankUse, Use } from "./use";

interface RankGridProps {
  experiment: string;
  placement: MachinePlacement[];
  use: Use;
  /** The rank that is to blame. */
  cause: number | null;
}

export function RankGrid({ experiment, placement, use, cause }: RankGridProps) {
  return (
    <div className={css.machines}>
      {placement.map((machine) => (
        <section key={machine.machine} className={css.machine} aria-label={`Machine ${machine.machine}`}>
          <header className={css.head}>
            <strong>Machine {machine.machine}</strong>
            <span className="mono soft ellipsis">{machine.hostname ?? machine.state}</span>
            <span className={css.use}>{isRunning(machine) && use.ofMachine(machine.machine)}</span>
            {machine.unreachable_since && (
              <span className={css.silent}>
                silent since <Ago at={machine.unreachable_since} />
              </span>
            )}
          </header>
          <div className={css.nodes}>
            {machine.nodes.map((node) => (
              <Node key={node.node} experiment={experiment} node={node} use={use} cause={cause} />
            ))}
          </div>
        </section>
      ))}
    </div>
  );
}

function isRunning(machine: MachinePlacement): boolean {
  return machine.nodes.some((node) => node.ranks.some((rank) => rank.state === "running"));
}

function Node({ experiment, node, use, cause }: { experiment: string; node: NodeView; use: Use; cause: number | null }) {
  const what = node.gpus > 0 ? plural(node.gpus, "GPU") : plural(node.cpus, "CPU");
  return (
    <div className={css.node}>
      <div className={css.nodeHead}>
        <span>Node {node.node}</span>
        <Tooltip label={deviceLines(node)} disabled={node.devices.length === 0}>
          <span className="soft">{what}</span>
        </Tooltip>
      </div>
      <div className={css.ranks}>
        {node.ranks.map((rank) => (
          <Rank key={rank.rank} experiment={experiment} rank={rank} device={node.devices[rank.local_rank]?.name} use={use.ofRank(rank, node)} isCause={rank.rank === cause} />
        ))}
      </div>
    </div>
  );
}

interface RankProps {
  experiment: string;
  rank: RankView;
  device?: string;
  use: RankUse | null;
  isCause: boolean;
}

function Rank({ experiment, rank, device, use, isCause }: RankProps) {
  const facts = [
    `rank ${rank.rank}, local rank ${rank.local_rank}: ${rank.state}`,
    isCause ? "it failed first" : null,
    device,
    rank.exit_code === null ? null : `exit code ${rank.exit_code}`,
    rank.exception,
    use?.text,
    rank.peak_mib === null ? null : `at most ${mebibytes(rank.peak_mib)}`,
  ].filter(Boolean);
  return (
    <Tooltip label={facts.join(" · ")}>
      <a
        className={css.rank}
        href={logsPage(experiment, rank.rank)}
        style={{ "--rank": stateColor(rank.state) } as React.CSSProperties}
        data-rank-state={rank.state}
        data-cause={isCause || undefined}
        data-measured={use !== null || undefined}
        aria-label={facts.join(", ")}
      >
        <span>{rank.rank}</span>
        {use && (
          <>
            <span className={css.share}>{use.share}</span>
            <i className={css.bar} style={{ "--part": `${use.percent}%` } as React.CSSProperties} />
            <span className={css.memory}>{use.memory}</span>
          </>
        )}
      </a>
    </Tooltip>
  );
}

function deviceLines(node: NodeView): string {
  return node.devices.map((device) => `${device.name} ${device.uuid}`).join("\n");
}
