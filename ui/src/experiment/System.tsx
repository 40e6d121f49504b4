/** The machines under it: hosts, devices, interpreter, memory of every rank. */
import type { ExperimentDocument } from "@/api/types";
import { Card, Facts } from "@/common/Page";
import { mebibytes } from "@/format/numbers";
import css from "./experiment.module.css";

export function System({ experiment }: { experiment: ExperimentDocument }) {
  const { plan, placement } = experiment;
  const ranks = placement.flatMap((machine) => machine.nodes.flatMap((node) => node.ranks.map((rank) => ({ machine, node, rank }))));
  return (
    <div className={css.stack}>
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
      <Card title="Ranks">
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
                <th className={css.right}>Most memory</th>
              </tr>
            </thead>
            <tbody>
              {ranks.map(({ machine, node, rank }) => (
                <tr key={rank.rank}>
                  <td className="num">{rank.rank}</td>
                  <td className="num">{node.node}</td>
                  <td className="num">{machine.machine}</td>
                  <td className="mono">{machine.hostname ?? "–"}</td>
                  <td>{node.devices[rank.local_rank]?.name ?? (experiment.simulated ? "CPU, simulated" : "CPU")}</td>
                  <td>{rank.state}</td>
                  <td className={`num ${css.right}`}>{rank.exit_code ?? "–"}</td>
                  <td className={`num ${css.right}`}>{rank.peak_mib === null ? "–" : mebibytes(rank.peak_mib)}</td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      </Card>
    </div>
  );
}
