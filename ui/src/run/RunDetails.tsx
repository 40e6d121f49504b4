/** What was asked for, and what was planned. */
import type { RunSummary } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { Card, Facts } from "@/common/Page";
import { plural } from "@/format/numbers";
import css from "./run.module.css";

export function RunDetails({ run }: { run: RunSummary }) {
  const { plan, source } = run;
  return (
    <div className={css.stack}>
      <Card title="Command">
        <CommandBlock command={run.command} />
      </Card>
      <div className={css.halves}>
        <Card title="Code">
          <Facts
            facts={[
              ["Script", <code className="mono">{run.script}</code>],
              ["From", source.line],
              ["Commit", source.commit ? <code className="mono">{source.commit}</code> : "none"],
              ["Framework", run.framework],
              ["Interpreter", <code className="mono">{plan.python ?? "none"}</code>],
              ["Environment", run.environment.length ? <code className="mono">{run.environment.join(", ")}</code> : "nothing set"],
            ]}
          />
        </Card>
        <Card title="Plan of each experiment">
          <Facts
            facts={[
              ["Machines", `${plural(plan.machines, "machine")} ${plan.instance_type}`],
              ["Nodes", `${plural(plan.nodes, "node")} × ${plural(plan.gpus_per_node, "GPU")}, ${plural(plan.cpus_per_node, "CPU")}`],
              ["World size", String(plan.world_size)],
              ["Search", `${run.strategy.replace("_", " ")}, ${plural(plan.experiments, "experiment")}`],
              ...(plan.reason ? [["Note", plan.reason] as [string, string]] : []),
            ]}
          />
        </Card>
      </div>
    </div>
  );
}
