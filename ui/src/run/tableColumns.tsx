/** The columns of the table of experiments: names have what they need, and the others share what is left. */
import type { CSSProperties } from "react";
import type { TableRow } from "@/api/types";
import { colorOf, indexOf } from "@/charts/palette";
import type { Column } from "@/common/DataTable";
import { SimulatedBadge, StateBadge } from "@/common/states";
import { Lasting } from "@/common/time";
import { dollars, metric, parameter } from "@/format/numbers";
import { experimentPage } from "@/format/places";
import css from "./run.module.css";
import { metricOf } from "./tableQuery";

/** What a name's cell holds beside it, in pixels: a dot, the badge of what is simulated, and space. */
const BESIDE_NAME = 124;

/** `longest` is the longest name; without reasons, which none has that runs or is completed, there is more room. */
export function tableColumns(shown: string[], longest: string, hasReasons: boolean): Column<TableRow>[] {
  return [nameColumn(longest), ...FIXED, ...shown.map(column), ...(hasReasons ? [REASON] : [])];
}

function nameColumn(longest: string): Column<TableRow> {
  return {
    id: "name",
    header: "Experiment",
    // By their number of letters, as each row is a grid of its own: 1ch is a digit, and most letters are narrower.
    width: `minmax(230px, calc(${(0.9 * longest.length).toFixed(1)}ch + ${BESIDE_NAME}px))`,
    title: (row) => row.experiment,
    sort: "index",
    className: css.name,
    style: (row) => ({ "--line-color": colorOf(indexOf(row.experiment)) }) as CSSProperties,
    cell: (row) => (
      <>
        <a href={experimentPage(row.experiment)} className={css.link} aria-label={row.experiment}>
          <span className="ellipsis">{row.run}</span>
          {row.experiment.slice(row.run.length)}
        </a>
        {row.simulated && <SimulatedBadge />}
      </>
    ),
  };
}

const FIXED: Column<TableRow>[] = [
  { id: "state", header: "State", width: "118px", sort: "state", cell: (row) => <StateBadge state={row.state} stopping={row.stopping} /> },
  { id: "duration", header: "Run time", width: "92px", align: "right", sort: "duration", cell: (row) => <Lasting from={row.started_at} to={row.ended_at} /> },
  { id: "cost", header: "Cost", width: "76px", align: "right", cell: (row) => dollars(row.cost) },
];

const REASON: Column<TableRow> = {
  id: "reason",
  header: "Reason",
  width: "minmax(120px, 4fr)",
  className: css.reason,
  title: (row) => row.reason,
  cell: (row) => (row.state === "succeeded" || row.state === "running" ? "" : row.reason),
};

function column(name: string): Column<TableRow> {
  if (name.startsWith("param:")) {
    const param = name.slice("param:".length);
    return {
      id: name,
      header: param,
      width: "minmax(84px, 1fr)",
      sort: name,
      align: "right",
      className: "mono",
      cell: (row) => parameter(row.params[param]),
    };
  }
  const { tag, which } = metricOf(name);
  return {
    id: name,
    header: which === "best" ? tag : `${tag} ${which}`,
    tooltip: `${tag}: ${which}`,
    width: "minmax(100px, 1fr)",
    sort: name,
    align: "right",
    cell: (row) => row.metrics[tag]?.text ?? metric(row.metrics[tag]?.[which]),
  };
}
