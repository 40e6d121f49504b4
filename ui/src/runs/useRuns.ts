/** The runs that match a question, page by page, live. */
import { useQueryClient, type QueryClient } from "@tanstack/react-query";
import { useMemo, useRef } from "react";
import { get } from "@/api/client";
import { useLive } from "@/api/live";
import type { RunRow, RunsChange } from "@/api/types";
import { pageOf, usePagedRows, type Paged, type PagedRows, type RowPage } from "@/common/pages";
import { parseQuery, toRequest, type RunsQuery } from "./query";

function listOf(query: RunsQuery): Paged<RowPage<RunRow>> {
  const request = toRequest(query);
  return {
    key: ["runs", request],
    fetchPage: async (offset, limit, signal) => {
      const page = await get("runs", { query: { ...request, offset, limit }, signal });
      return { rows: page.runs, total: page.total };
    },
  };
}

/** Ask for the first page before anything is drawn: it is what most visits wait for. */
export function prefetchRuns(client: QueryClient, params: URLSearchParams): void {
  void client.prefetchQuery(pageOf(listOf(parseQuery(params)), 0));
}

/** Follow the runs that match. */
export function useRuns(query: RunsQuery): PagedRows<RunRow> {
  const client = useQueryClient();
  const all = useRef<number | null>(null);
  const list = useMemo(() => listOf(query), [query]);
  const runs = usePagedRows<RunRow, RowPage<RunRow>>(list);
  useLive<RunsChange>(
    "runs",
    ({ runs: changed, total }) => {
      const byName = new Map(changed.map((run) => [run.run, run]));
      const known = new Set<string>();
      client.setQueriesData<RowPage<RunRow>>({ queryKey: ["runs"] }, (page) => {
        if (page === undefined) return page;
        for (const row of page.rows) known.add(row.run);
        return { ...page, rows: page.rows.map((row) => byName.get(row.run) ?? row) };
      });
      // What came or went moves others, and only the server knows where.
      if (total !== all.current || changed.some((run) => !known.has(run.run))) runs.refetch();
      all.current = total;
    },
    runs.refetch,
  );
  return runs;
}
