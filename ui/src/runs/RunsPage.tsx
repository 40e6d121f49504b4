/** All runs: found, sorted, and acted upon, one or many. */
import { Button } from "@mantine/core";
import { CopyPlus, Plus, Square, Trash2 } from "lucide-react";
import { useCallback, useMemo, useState } from "react";
import { useNewRun, useSearchParams } from "@/common/address";
import { useConfirm } from "@/common/confirm";
import { CommandBlock } from "@/common/copy";
import { DataTable } from "@/common/DataTable";
import { Empty, Failure, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { count, plural } from "@/format/numbers";
import { clone, destroy, stop } from "./actions";
import { COLUMNS } from "./columns";
import { Filters } from "./Filters";
import { isFiltered, parseQuery, withQuery, type RunsQuery } from "./query";
import css from "./runs.module.css";
import { useRuns } from "./useRuns";

export function RunsPage() {
  const [params, setParams] = useSearchParams();
  const query = useMemo(() => parseQuery(params), [params]);
  const [selected, setSelected] = useState<ReadonlySet<string>>(new Set());
  const runs = useRuns(query);
  const change = useCallback((change: Partial<RunsQuery>) => setParams((now) => withQuery(now, change), { replace: true }), [setParams]);
  return (
    <Page
      title="Runs"
      heading={
        <h1>
          Runs {runs.total > 0 && <span className={css.total}>{count(runs.total)}</span>}
        </h1>
      }
      actions={selected.size > 0 ? <Bulk names={[...selected]} done={() => setSelected(new Set())} /> : undefined}
    >
      <Filters query={query} change={change} isAsking={!runs.isLoading} />
      {runs.error ? (
        <Failure error={runs.error} retry={runs.refetch} />
      ) : runs.isLoading ? (
        <Loading what="runs" />
      ) : runs.total === 0 ? (
        <NoRuns isFiltered={isFiltered(query)} />
      ) : (
        <DataTable
          label="Runs"
          columns={COLUMNS}
          total={runs.total}
          rowAt={runs.rowAt}
          keyOf={(run) => run.run}
          onVisible={runs.onVisible}
          sorting={query.sorting}
          onSort={(sorting) => change({ sorting })}
          selection={{ names: selected, change: setSelected }}
          rowHeight={50}
          maxHeight="calc(100vh - 150px)"
        />
      )}
    </Page>
  );
}

function NoRuns({ isFiltered }: { isFiltered: boolean }) {
  const openNewRun = useNewRun();
  if (isFiltered) return <Empty title="No run matches.">Take a filter away, or search for a part of the name.</Empty>;
  return (
    <Empty
      title="No runs yet."
      action={
        <>
          <Button leftSection={<Plus size={14} />} onClick={() => openNewRun()}>
            New run from a link
          </Button>
          <CommandBlock command="grid run --gpus 8 train.py" />
        </>
      }
    >
      A run trains a script on as many machines as its GPUs need. Start one from a link to a script, or in a terminal.
    </Empty>
  );
}

function Bulk({ names, done }: { names: string[]; done: () => void }) {
  const [ask, dialog] = useConfirm();
  const runs = plural(names.length, "run");
  const shown = names.length > 6 ? `${names.slice(0, 6).join(", ")} and ${names.length - 6} more` : names.join(", ");
  const after = (act: (names: string[]) => Promise<unknown>) => async () => {
    await act(names);
    done();
  };
  const stopAll = after((all) => stop("run", all));
  const deleteAll = after((all) => destroy("run", all));
  return (
    <>
      <span className="soft">{runs} selected</span>
      <Button
        variant="default"
        leftSection={<Square size={13} />}
        onClick={() => ask({ title: `Stop ${runs}?`, text: `${shown}. What was made is kept.`, action: `Stop ${runs}`, act: stopAll })}
      >
        Stop
      </Button>
      <Button
        variant="default"
        leftSection={<CopyPlus size={13} />}
        onClick={() =>
          ask({ title: `Clone ${runs}?`, text: `${shown}: the same code and request once more.`, action: `Start ${runs}`, act: after(clone) })
        }
      >
        Clone
      </Button>
      <Button
        variant="default"
        leftSection={<Trash2 size={13} />}
        onClick={() =>
          ask({
            title: `Delete ${runs}?`,
            text: `${shown}. Logs, metrics and artifacts are removed for good.`,
            action: `Delete ${runs}`,
            isDangerous: true,
            act: deleteAll,
          })
        }
      >
        Delete
      </Button>
      {dialog}
    </>
  );
}
