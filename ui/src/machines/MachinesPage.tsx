/** Every machine and GPU, what runs on it and whose it is, and what waits. */
import { get } from "@/api/client";
import { useLive, useLiveQuery } from "@/api/live";
import type { Waiting } from "@/api/types";
import { DataTable, type Column } from "@/common/DataTable";
import { Empty, Failure, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { usePagedRows, type RowPage } from "@/common/pages";
import { SimulatedBadge } from "@/common/states";
import { Ago } from "@/common/time";
import { count, plural } from "@/format/numbers";
import { experimentPage } from "@/format/places";
import { MachineCard } from "./MachineCard";
import css from "./machines.module.css";

export default function MachinesPage() {
  // What runs where changes when a run does.
  const machines = useLiveQuery("runs", ["machines"], () => get("machines"));
  const queue = usePagedRows<Waiting, RowPage<Waiting>>({
    key: ["queue"],
    fetchPage: async (offset, limit, signal) => {
      const page = await get("queue", { query: { offset, limit }, signal });
      return { rows: page.queue, total: page.total };
    },
  });
  useLive("runs", queue.refetch, queue.refetch);
  if (machines.error && !machines.data) {
    return (
      <Page title="Machines">
        <Failure error={machines.error} retry={() => void machines.refetch()} />
      </Page>
    );
  }
  if (machines.data === undefined) return <Loading what="machines" />;
  return (
    <Page title="Machines">
      <div className={css.cards}>
        {machines.data.machines.map((machine) => (
          <MachineCard key={machine.hostname} machine={machine} />
        ))}
      </div>
      <h2 className={css.heading}>
        Queue {queue.total > 0 && <span className="soft num">{count(queue.total)}</span>}
      </h2>
      {queue.error ? (
        <Failure error={queue.error} retry={queue.refetch} />
      ) : queue.total === 0 ? (
        <Empty title="Nothing waits.">An experiment waits here, with the reason, while there is no room for all of its machines.</Empty>
      ) : (
        <DataTable
          label="Queue"
          columns={QUEUE}
          total={queue.total}
          rowAt={queue.rowAt}
          keyOf={(row) => row.experiment}
          onVisible={queue.onVisible}
          maxHeight="60vh"
        />
      )}
    </Page>
  );
}

const QUEUE: Column<Waiting>[] = [
  { id: "position", header: "#", width: "52px", align: "right", cell: (row) => row.position },
  {
    id: "experiment",
    header: "Experiment",
    width: "minmax(180px, 1.2fr)",
    className: css.named,
    cell: (row) => (
      <>
        <a className="ellipsis" href={experimentPage(row.experiment)}>
          {row.experiment}
        </a>
        {row.simulated && <SimulatedBadge />}
      </>
    ),
  },
  { id: "reason", header: "Waits for", width: "minmax(220px, 2.4fr)", title: (row) => row.reason, cell: (row) => row.reason },
  {
    id: "wants",
    header: "Wants",
    width: "minmax(150px, 1fr)",
    cell: (row) => (
      <>
        {row.gpus > 0 ? plural(row.gpus, "GPU") : "CPUs"} <span className="soft mono">{row.instance_type}</span>
      </>
    ),
  },
  { id: "user", header: "User", width: "110px", cell: (row) => row.user },
  { id: "since", header: "Since", width: "110px", cell: (row) => <Ago at={row.created_at} /> },
];
