/** The question that the table of experiments asks, kept in the address. */
import type { TableColumns } from "@/api/types";
import type { Sorting } from "@/common/DataTable";
import { parseSorting, sortText } from "@/runs/query";

export interface TableQuery {
  search: string;
  state: string | null;
  sorting: Sorting;
  /** `param:lr`, `metric:val_loss:last`; null: as many as are useful at first. */
  columns: string[] | null;
  /** Indexes of the experiments whose charts are drawn; null: the first ones. */
  drawn: number[] | null;
  /** The metric that says which experiment is best; null: the most telling one. */
  best: string | null;
}

const BY_INDEX: Sorting = { key: "index", descending: false };

/** Charts of more experiments than this are asked for by hand. */
export const DRAWN_AT_FIRST = 12;

export function parseTable(params: URLSearchParams): TableQuery {
  const drawn = params.get("draw");
  const columns = params.getAll("col");
  return {
    search: params.get("search") ?? "",
    state: params.get("state"),
    sorting: parseSorting(params.get("sort")) ?? BY_INDEX,
    columns: params.has("col") ? columns.filter((column) => column !== "") : null,
    drawn: drawn === null ? null : drawn.split(",").filter((text) => text !== "").map(Number).filter(Number.isInteger),
    best: params.get("best"),
  };
}

export function withTable(params: URLSearchParams, change: Partial<TableQuery>): URLSearchParams {
  const query = { ...parseTable(params), ...change };
  const next = new URLSearchParams(params);
  for (const name of ["search", "state", "sort", "col", "draw", "best"]) next.delete(name);
  if (query.search) next.set("search", query.search);
  if (query.state) next.set("state", query.state);
  if (sortText(query.sorting) !== sortText(BY_INDEX)) next.set("sort", sortText(query.sorting));
  for (const column of query.columns ?? []) next.append("col", column);
  if (query.columns?.length === 0) next.set("col", "");
  if (query.drawn !== null) next.set("draw", query.drawn.join(","));
  if (query.best !== null) next.set("best", query.best);
  return next;
}

/** The parameters of GET /runs/{run}/table. */
export function tableRequest({ search, state, sorting }: TableQuery): Record<string, string | string[] | null> {
  return { search, filter: state === null ? [] : [`state=${state}`], sort: sorting.key, order: sorting.descending ? "desc" : "asc" };
}

/** The metrics whose values the chosen columns need; the server's own choice while nobody has chosen. */
export function neededMetrics({ columns }: TableQuery): string[] {
  const chosen = (columns ?? []).filter((column) => column.startsWith("metric:"));
  return [...new Set(chosen.map((column) => metricOf(column).tag))];
}

/** The columns shown: those chosen, or the hyperparameters and the best of the most telling metrics. */
export function shownColumns(chosen: string[] | null, known: TableColumns): string[] {
  if (chosen !== null) return chosen;
  return [...known.params.slice(0, 8).map((name) => `param:${name}`), ...known.metrics.slice(0, 3).map(({ tag }) => `metric:${tag}`)];
}

/** Split `metric:val/loss:last` into its tag and which of its values is meant; without one, the best. */
export function metricOf(column: string): { tag: string; which: "best" | "last" | "min" | "max" } {
  const match = /^metric:(.*?)(?::(last|min|max|best))?$/.exec(column);
  return { tag: match?.[1] ?? column, which: (match?.[2] ?? "best") as "best" };
}
