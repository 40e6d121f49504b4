/** The columns of the table of experiments. */
import { Link } from "wouter";
import { path } from "@/api/client";
import type { TableRow } from "@/api/types";
import { colorOf, indexOf } from "@/charts/palette";
import type { Column } from "@/common/DataTable";
import { StateBadge } from "@/common/states";
import { Lasting } from "@/common/time";
import { dollars, metric, parameter } from "@/format/numbers";
import css from "./run.module.css";
import { metricOf } from "./tableQuery";

const FIXED: Column<TableRow>[] = [
  {
    id: "name",
    header: "Experiment",
    width: "minmax(190px, 1.4fr)",
    sort: "index",
    cell: (row) => (
      <span className={css.name}>
        <i style={{ background: colorOf(indexOf(row.experiment)) }} />
        <Link href={`/${path("experiments", row.experiment)}`} className="ellipsis">
          {row.experiment}
        </Link>
      </span>
    ),
  },
  { id: "state", header: "State", width: "118px", sort: "state", cell: (row) => <StateBadge state={row.state} stopping={row.stopping} /> },
  { id: "duration", header: "Run time", width: "92px", align: "right", sort: "duration", cell: (row) => <Lasting from={row.started_at} to={row.ended_at} /> },
  { id: "cost", header: "Cost", width: "76px", align: "right", cell: (row) => dollars(row.cost) },
];

const REASON: Column<TableRow> = {
  id: "reason",
  header: "Reason",
  width: "minmax(120px, 1.6fr)",
  cell: (row) => (
    <span className={css.reason} title={row.reason}>
      {row.state === "succeeded" || row.state === "running" ? "" : row.reason}
    </span>
  ),
};

export function tableColumns(shown: string[]): Column<TableRow>[] {
  return [...FIXED, ...shown.map(column), REASON];
}

function column(name: string): Column<TableRow> {
  if (name.startsWith("param:")) {
    const param = name.slice("param:".length);
    return {
      id: name,
      header: param,
      width: "minmax(84px, 130px)",
      sort: name,
      align: "right",
      cell: (row) => <span className="mono">{parameter(row.params[param])}</span>,
    };
  }
  const { tag, which } = metricOf(name);
  return {
    id: name,
    header: which === "best" ? tag : `${tag} ${which}`,
    tooltip: `${tag}: ${which}`,
    width: "minmax(100px, 150px)",
    sort: name,
    align: "right",
    cell: (row) => row.metrics[tag]?.text ?? metric(row.metrics[tag]?.[which]),
  };
}
