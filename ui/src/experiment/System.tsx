/** How much it uses of its machines, now and since it began; and what they are. */
import { useMemo } from "react";
import type { ExperimentDocument, SystemRow } from "@/api/types";
import { ChartBoard } from "@/charts/ChartBoard";
import type { Chart } from "@/charts/ChartCard";
import { Empty, Failure, Loading } from "@/common/notices";
import { Card, Facts } from "@/common/Page";
import { mebibytes } from "@/format/numbers";
import css from "./experiment.module.css";
import { gpuOf, readUse, type Use } from "./use";
import { useSystem } from "./useSystem";

/** Charts in the order in which one looks at them: subject and quantity, title. */
const CHARTS = [
  ["gpu", "use", "GPU use"],
  ["gpu", "memory", "GPU memory"],
  ["rank", "cpu", "CPU of each rank"],
  ["rank", "memory", "Memory of each rank"],
  ["machine", "cpu", "CPU of each machine"],
  ["machine", "memory", "Memory of each machine"],
  ["machine", "received", "Received over the network"],
  ["machine", "sent", "Sent over the network"],
  ["machine", "read", "Read from disk"],
  ["machine", "written", "Written to disk"],
] as const;

export default function System({ experiment }: { experiment: ExperimentDocument }) {
  const system = useSystem(experiment.experiment);
  const { plan } = experiment;
  return (
    <div className={css.stack}>
      {system.error && !system.data ? (
        <Failure error={system.error} retry={() => void system.refetch()} />
      ) : system.data ? (
        <Charts experiment={experiment.experiment} rows={system.data.series} />
      ) : (
        <Loading what="measurements" />
      )}
      <Card title="Ranks">
        <Ranks experiment={experiment} use={readUse(system.data)} />
      </Card>
      <Card title="Environment">
        <Facts
          facts={[
            ["Interpreter", <code className="mono">{plan.python ?? "none"}</code>],
            ["CPUs per node", String(plan.cpus_per_node)],
            ["Ranks per node", String(plan.ranks_per_node)],
            ["Work folder", <code className="mono">{experiment.work_dir ?? "not made yet"}</code>],
            ["Attempts", `${experiment.attempts}, ranks started ${experiment.generations} ${experiment.generations === 1 ? "time" : "times"}`],
          ]}
        />
      </Card>
    </div>
  );
}

function Charts({ experiment, rows }: { experiment: string; rows: SystemRow[] }) {
  const names = rows.map((row) => row.name).join();
  const charts = useMemo(() => chartsOf(rows), [names]);
  const experiments = useMemo(() => [experiment], [experiment]);
  if (charts.length === 0) {
    return <Empty title="Nothing was measured yet.">Processors, memory and GPUs are measured while the ranks run, every few seconds.</Empty>;
  }
  return <ChartBoard kind="system" topic={experiment} charts={charts} experiments={experiments} />;
}

function chartsOf(rows: SystemRow[]): Chart[] {
  return CHARTS.flatMap(([subject, quantity, title]) => {
    const found = rows.filter((row) => row.subject === subject && row.quantity === quantity);
    return found.length === 0 ? [] : [{ title, tags: found.map((row) => row.name), unit: found[0]!.unit }];
  });
}

function Ranks({ experiment, use }: { experiment: ExperimentDocument; use: Use }) {
  const ranks = experiment.placement.flatMap((machine) => machine.nodes.flatMap((node) => node.ranks.map((rank) => ({ machine, node, rank }))));
  return (
    <div className={css.scroll} tabIndex={0} role="region" aria-label="Ranks and their devices">
      <table className={css.plain}>
        <thead>
          <tr>
            <th>Rank</th>
            <th>Node</th>
            <th>Machine</th>
            <th>Host</th>
            <th>Device</th>
            <th>State</th>
            <th className={css.right}>Exit code</th>
            <th className={css.right}>CPU</th>
            <th className={css.right}>GPU</th>
            <th className={css.right}>Memory</th>
            <th className={css.right}>Most memory</th>
          </tr>
        </thead>
        <tbody>
          {ranks.map(({ machine, node, rank }) => {
            const isRunning = rank.state === "running";
            const now = (name: string) => (isRunning ? (use.of(name) ?? "–") : "–");
            return (
              <tr key={rank.rank}>
                <td className="num">{rank.rank}</td>
                <td className="num">{node.node}</td>
                <td className="num">{machine.machine}</td>
                <td className="mono">{machine.hostname ?? "–"}</td>
                <td>{node.devices[rank.local_rank]?.name ?? (experiment.simulated ? "CPU, simulated" : "CPU")}</td>
                <td>{rank.state}</td>
                <td className={`num ${css.right}`}>{rank.exit_code ?? "–"}</td>
                <td className={`num ${css.right}`}>{now(`rank/${rank.rank}/cpu`)}</td>
                <td className={`num ${css.right}`}>{now(`gpu/${gpuOf(rank, node)}/use`)}</td>
                <td className={`num ${css.right}`}>{now(`rank/${rank.rank}/memory`)}</td>
                <td className={`num ${css.right}`}>{rank.peak_mib === null ? "–" : mebibytes(rank.peak_mib)}</td>
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}
