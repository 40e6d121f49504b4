/** The metrics of a run's experiments, overlaid, and the table of them all. */
import { useMemo } from "react";
import type { RunSummary, TableColumns } from "@/api/types";
import { MetricCharts } from "@/charts/MetricCharts";
import { indexOf } from "@/charts/palette";
import { useRunTags } from "@/charts/useTags";
import { DataTable } from "@/common/DataTable";
import { useSearchParams } from "@/common/address";
import { Failure, Loading } from "@/common/notices";
import { BestExperiment } from "./BestExperiment";
import css from "./run.module.css";
import { TableBar } from "./TableBar";
import { tableColumns } from "./tableColumns";
import { DRAWN_AT_FIRST, parseTable, shownColumns, withTable, type TableQuery } from "./tableQuery";
import { useTable } from "./useTable";

export default function Experiments({ run }: { run: RunSummary }) {
  const [params, setParams] = useSearchParams();
  const query = useMemo(() => parseTable(params), [params]);
  const change = (change: Partial<TableQuery>) => setParams((now) => withTable(now, change), { replace: true });
  const tags = useRunTags(run.run);
  const table = useTable(run.run, query);
  const known: TableColumns = table.first?.columns ?? { params: [], metrics: [] };
  const shown = shownColumns(query.columns, known);
  const longest = `${run.run}-exp${run.experiments - 1}`;
  const hasReasons = run.running + run.completed < run.experiments;
  const columns = useMemo(() => tableColumns(shown, longest, hasReasons), [JSON.stringify(shown), longest, hasReasons]);
  const drawn = query.drawn ?? Array.from({ length: Math.min(run.experiments, DRAWN_AT_FIRST) }, (_, index) => index);
  const names = useMemo(() => drawn.map((index) => `${run.run}-exp${index}`), [run.run, drawn.join()]);
  return (
    <div className={css.stack}>
      {tags.error && !tags.data && <Failure error={tags.error} retry={() => void tags.refetch()} />}
      {tags.data && <MetricCharts topic={run.run} tags={tags.data.tags} experiments={names} isBounded={run.experiments > 1} />}
      {tags.data && tags.data.tags.length > 0 && run.experiments > 1 && (
        <BestExperiment run={run.run} tags={tags.data.tags} usual={tags.data.best_by} chosen={query.best} choose={(best) => change({ best })} />
      )}
      <TableBar run={run.run} query={query} change={change} known={known} shown={shown} total={table.total} />
      {table.error ? (
        <Failure error={table.error} retry={table.refetch} />
      ) : table.isLoading ? (
        <Loading what="experiments" />
      ) : table.total === 0 ? (
        <p className="soft">No experiment matches.</p>
      ) : (
        <DataTable
          label="Experiments"
          columns={columns}
          total={table.total}
          rowAt={table.rowAt}
          keyOf={(row) => row.experiment}
          onVisible={table.onVisible}
          sorting={query.sorting}
          onSort={(sorting) => change({ sorting })}
          selection={{
            names: new Set(names),
            purpose: "Whose metrics are drawn above",
            change: (chosen) => change({ drawn: [...chosen].map(indexOf).sort((a, b) => a - b) }),
          }}
          maxHeight="60vh"
        />
      )}
    </div>
  );
}
