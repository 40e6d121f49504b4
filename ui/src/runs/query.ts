/** The question that the Runs page asks, kept in the address. */
import type { Sorting } from "@/common/DataTable";

export interface RunsQuery {
  search: string;
  state: string[];
  user: string | null;
  label: string[];
  since: string | null;
  sorting: Sorting;
}

const NEWEST: Sorting = { key: "created_at", descending: true };

export function parseQuery(params: URLSearchParams): RunsQuery {
  return {
    search: params.get("search") ?? "",
    state: params.getAll("state"),
    user: params.get("user"),
    label: params.getAll("label"),
    since: params.get("since"),
    sorting: parseSorting(params.get("sort")) ?? NEWEST,
  };
}

export function parseSorting(text: string | null): Sorting | null {
  if (!text) return null;
  return text.startsWith("-") ? { key: text.slice(1), descending: true } : { key: text, descending: false };
}

export function sortText({ key, descending }: Sorting): string {
  return descending ? `-${key}` : key;
}

/** Put a changed question into the address; what is as usual is left out, what is not ours stays. */
export function withQuery(params: URLSearchParams, change: Partial<RunsQuery>): URLSearchParams {
  const query = { ...parseQuery(params), ...change };
  const next = new URLSearchParams(params);
  for (const name of ["search", "state", "user", "label", "since", "sort"]) next.delete(name);
  if (query.search) next.set("search", query.search);
  for (const state of query.state) next.append("state", state);
  if (query.user) next.set("user", query.user);
  for (const label of query.label) next.append("label", label);
  if (query.since) next.set("since", query.since);
  if (sortText(query.sorting) !== sortText(NEWEST)) next.set("sort", sortText(query.sorting));
  return next;
}

/** The parameters of GET /runs. */
export function toRequest(query: RunsQuery): Record<string, string | string[] | null> {
  const { search, state, user, label, since, sorting } = query;
  return { search, state, user, label, since, sort: sortText(sorting) };
}

export function isFiltered(query: RunsQuery): boolean {
  return Boolean(query.search || query.state.length || query.user || query.label.length || query.since);
}
