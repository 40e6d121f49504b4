/** Every machine and GPU, what runs on it and whose it is, and what waits. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { Link } from "wouter";
import { get, path } from "@/api/client";
import { useLive } from "@/api/live";
import type { Machines, Queue, Waiting } from "@/api/types";
import { DataTable, type Column } from "@/common/DataTable";
import { Empty, Failure, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { usePagedRows, type RowPage } from "@/common/pages";
import { Ago } from "@/common/time";
import { count, plural } from "@/format/numbers";
import { MachineCard } from "./MachineCard";
import css from "./machines.module.css";

export default function MachinesPage() {
  const client = useQueryClient();
  const machines = useQuery({ queryKey: ["machines"], queryFn: () => get<Machines>("machines") });
  const queue = usePagedRows<Waiting, RowPage<Waiting>>(["queue"], async (offset, limit, signal) => {
    const page = await get<Queue>("queue", { offset, limit }, signal);
    return { rows: page.queue, total: page.total };
  });
  const look = () => {
    void client.invalidateQueries({ queryKey: ["machines"] }, { cancelRefetch: false });
    queue.refetch();
  };
  // What runs where changes when a run does.
  useLive("runs", look, look);
  if (machines.error && !machines.data) {
    return (
      <Page title="Machines">
        <Failure error={machines.error} retry={look} />
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
    cell: (row) => <Link href={`/${path("experiments", row.experiment)}`}>{row.experiment}</Link>,
  },
  { id: "reason", header: "Waits for", width: "minmax(220px, 2.4fr)", cell: (row) => <span title={row.reason}>{row.reason}</span> },
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
