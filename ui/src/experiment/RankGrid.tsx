/** Every rank as a cell, inside its node, inside its machine. */
import { Tooltip } from "@mantine/core";
import { Link } from "wouter";
import { path } from "@/api/client";
import type { MachinePlacement, NodeView, RankView } from "@/api/types";
import { Ago } from "@/common/time";
import { mebibytes, plural } from "@/format/numbers";
import { stateColor } from "@/format/states";
import css from "./ranks.module.css";

export function RankGrid({ experiment, placement }: { experiment: string; placement: MachinePlacement[] }) {
  return (
    <div className={css.machines}>
      {placement.map((machine) => (
        <section key={machine.machine} className={css.machine} aria-label={`Machine ${machine.machine}`}>
          <header className={css.head}>
            <strong>Machine {machine.machine}</strong>
            <span className="mono soft ellipsis">{machine.hostname ?? machine.state}</span>
            {machine.unreachable_since && (
              <span className={css.silent}>
                silent since <Ago at={machine.unreachable_since} />
              </span>
            )}
          </header>
          <div className={css.nodes}>
            {machine.nodes.map((node) => (
              <Node key={node.node} experiment={experiment} node={node} />
            ))}
          </div>
        </section>
      ))}
    </div>
  );
}

function Node({ experiment, node }: { experiment: string; node: NodeView }) {
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
          <Rank key={rank.rank} experiment={experiment} rank={rank} device={node.devices[rank.local_rank]?.name} />
        ))}
      </div>
    </div>
  );
}

function Rank({ experiment, rank, device }: { experiment: string; rank: RankView; device?: string }) {
  const facts = [
    `rank ${rank.rank}, local rank ${rank.local_rank}: ${rank.state}`,
    device,
    rank.exit_code === null ? null : `exit code ${rank.exit_code}`,
    rank.exception,
    rank.peak_mib === null ? null : `at most ${mebibytes(rank.peak_mib)}`,
  ].filter(Boolean);
  return (
    <Tooltip label={facts.join(" · ")}>
      <Link
        className={css.rank}
        href={`/${path("experiments", experiment)}?tab=logs&rank=${rank.rank}`}
        style={{ "--rank": stateColor(rank.state) } as React.CSSProperties}
        data-rank-state={rank.state}
        aria-label={facts.join(", ")}
      >
        {rank.rank}
      </Link>
    </Tooltip>
  );
}

function deviceLines(node: NodeView): string {
  return node.devices.map((device) => `${device.name} ${device.uuid}`).join("\n");
}
