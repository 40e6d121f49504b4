/** The columns of the list of runs. */
import type { RunRow } from "@/api/types";
import type { Column } from "@/common/DataTable";
import { CountBar, runState, SimulatedBadge, StateBadge } from "@/common/states";
import { Ago } from "@/common/time";
import { hourly } from "@/format/numbers";
import { machinesLine } from "@/format/machines";
import { runPage } from "@/format/places";
import { stateColor } from "@/format/states";
import { RunMenu } from "./RunMenu";
import css from "./runs.module.css";

function countColumn(id: "queued" | "running" | "completed" | "stopped" | "failed", tooltip: string): Column<RunRow> {
  const some = { color: stateColor(id), fontWeight: 550 };
  return {
    id,
    header: id[0]!.toUpperCase(),
    width: "39px",
    align: "right",
    sort: id,
    tooltip,
    className: css.count,
    style: (run) => (run[id] === 0 ? undefined : some),
    cell: (run) => run[id],
  };
}

export const COLUMNS: Column<RunRow>[] = [
  {
    id: "run",
    header: "Run",
    width: "minmax(230px, 2.4fr)",
    title: (run) => run.run,
    sort: "run",
    className: css.name,
    cell: (run) => (
      <>
        <a href={runPage(run.run)} className="ellipsis">
          {run.run}
        </a>
        {run.simulated && <SimulatedBadge />}
        <Second run={run} />
      </>
    ),
  },
  {
    id: "state",
    header: "State",
    width: "112px",
    className: css.state,
    cell: (run) => (
      <>
        <StateBadge state={runState(run)} />
        {run.experiments > 1 && <CountBar run={run} />}
      </>
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
    width: "minmax(120px, 1fr)",
    className: css.two,
    cell: (run) => (
      <>
        <span className="ellipsis">{machinesLine(run)}</span>
        <span className={`${css.second} mono ellipsis`}>{run.devices || run.instance_type}</span>
      </>
    ),
  },
  { id: "cost", header: "Cost/h", width: "80px", align: "right", cell: (run) => hourly(run.hourly_cost) },
  { id: "user", header: "User", width: "84px", sort: "user", cell: (run) => run.user },
  { id: "created", header: "Created", width: "98px", sort: "created_at", cell: (run) => <Ago at={run.created_at} /> },
  { id: "menu", header: "", width: "42px", cell: (run) => <RunMenu run={run} /> },
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
