/** The columns of the list of runs. */
import { Link } from "wouter";
import { path } from "@/api/client";
import type { RunRow } from "@/api/types";
import type { Column } from "@/common/DataTable";
import { CountBar, runState, SimulatedBadge, StateBadge } from "@/common/states";
import { Ago } from "@/common/time";
import { hourly } from "@/format/numbers";
import { machinesLine } from "@/format/machines";
import { stateColor } from "@/format/states";
import { RunMenu } from "./RunMenu";
import css from "./runs.module.css";

function countColumn(id: "queued" | "running" | "completed" | "stopped" | "failed", tooltip: string): Column<RunRow> {
  return {
    id,
    header: id[0]!.toUpperCase(),
    width: "46px",
    align: "right",
    sort: id,
    tooltip,
    cell: (run) =>
      run[id] === 0 ? <span className={css.none}>0</span> : <span style={{ color: stateColor(id), fontWeight: 550 }}>{run[id]}</span>,
  };
}

export const COLUMNS: Column<RunRow>[] = [
  {
    id: "run",
    header: "Run",
    width: "minmax(230px, 2.4fr)",
    sort: "run",
    cell: (run) => (
      <div className={css.two}>
        <div className={css.name}>
          <Link href={`/${path("runs", run.run)}`} className="ellipsis">
            {run.run}
          </Link>
          {run.simulated && <SimulatedBadge />}
        </div>
        <Second run={run} />
      </div>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "128px",
    cell: (run) => (
      <div className={css.state}>
        <StateBadge state={runState(run)} />
        {run.experiments > 1 && <CountBar run={run} />}
      </div>
    ),
  },
  countColumn("queued", "Queued, building or pending"),
  countColumn("running", "Running"),
  countColumn("completed", "Completed"),
  countColumn("stopped", "Stopped"),
  countColumn("failed", "Failed"),
  {
    id: "machines",
    header: "Machines",
    width: "minmax(150px, 1.3fr)",
    cell: (run) => (
      <div className={css.two}>
        <span className="ellipsis">{machinesLine(run)}</span>
        <span className={`${css.second} mono ellipsis`}>{run.devices || run.instance_type}</span>
      </div>
    ),
  },
  { id: "cost", header: "Cost/h", width: "86px", align: "right", cell: (run) => hourly(run.hourly_cost) },
  { id: "user", header: "User", width: "104px", sort: "user", cell: (run) => run.user },
  { id: "created", header: "Created", width: "108px", sort: "created_at", cell: (run) => <Ago at={run.created_at} /> },
  { id: "menu", header: "", width: "44px", cell: (run) => <RunMenu run={run} /> },
];

/** Under the name: why it waits, or what it is. */
function Second({ run }: { run: RunRow }) {
  if (run.waiting) {
    return (
      <span className={`${css.waiting} ellipsis`} title={run.waiting}>
        {run.waiting}
      </span>
    );
  }
  return (
    <span className={`${css.second} ellipsis`}>
      <span className="mono">{run.script}</span>
      {run.description && ` · ${run.description}`}
      {Object.entries(run.labels).map(([key, value]) => (
        <span key={key} className={css.label}>
          {value ? `${key}=${value}` : key}
        </span>
      ))}
    </span>
  );
}
