/** A run's experiments with their hyperparameters and metrics, page by page, live. */
import { useQueryClient } from "@tanstack/react-query";
import { useThrottledCallback } from "@mantine/hooks";
import { get } from "@/api/client";
import { useLive } from "@/api/live";
import type { RunChange, TableColumns, TableRow } from "@/api/types";
import { usePagedRows, type RowPage } from "@/common/pages";
import { neededMetrics, tableRequest, type TableQuery } from "./tableQuery";

type Page = RowPage<TableRow> & { columns: TableColumns };

export function useTable(run: string, query: TableQuery) {
  const client = useQueryClient();
  const question = { ...tableRequest(query), metric: neededMetrics(query) };
  const table = usePagedRows<TableRow, Page>({
    key: ["table", run, question],
    fetchPage: async (offset, limit, signal) => {
      const page = await get("runs/{name}/table", { path: { name: run }, query: { ...question, offset, limit }, signal });
      return { rows: page.experiments, total: page.total, columns: page.columns };
    },
  });
  const refetch = useThrottledCallback(table.refetch, 2000);
  useLive<RunChange>(
    `run:${run}`,
    ({ experiments }) => {
      const byName = new Map(experiments.map((row) => [row.experiment, row]));
      client.setQueriesData<Page>({ queryKey: ["table", run] }, (page) => {
        if (page === undefined) return page;
        return { ...page, rows: page.rows.map((row) => ({ ...row, ...byName.get(row.experiment) })) };
      });
      // Rows may come into a filter, or leave it.
      if (query.state !== null) refetch();
    },
    refetch,
  );
  useLive(`scalars:${run}`, refetch, refetch);
  return table;
}
