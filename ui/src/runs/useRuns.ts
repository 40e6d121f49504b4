/** The runs that match a question, page by page, live. */
import { useQueryClient } from "@tanstack/react-query";
import { useMemo, useRef } from "react";
import { get } from "@/api/client";
import { useLive } from "@/api/live";
import type { RunRow, RunsChange } from "@/api/types";
import { usePagedRows, type PagedRows, type RowPage } from "@/common/pages";
import { toRequest, type RunsQuery } from "./query";

export function useRuns(query: RunsQuery): PagedRows<RunRow> {
  const client = useQueryClient();
  const all = useRef<number | null>(null);
  const key = useMemo(() => ["runs", toRequest(query)], [query]);
  const runs = usePagedRows<RunRow, RowPage<RunRow>>(key, async (offset, limit, signal) => {
    const page = await get("runs", { query: { ...toRequest(query), offset, limit }, signal });
    return { rows: page.runs, total: page.total };
  });
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
