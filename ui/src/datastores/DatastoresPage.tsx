/** All versions of all datastores, or one of them in full. */
import { useInterval } from "@mantine/hooks";
import { Link } from "wouter";
import { get, path } from "@/api/client";
import type { DatastorePage, DatastoreRow } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { DataTable, type Column } from "@/common/DataTable";
import { Empty, Failure, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { usePagedRows, type RowPage } from "@/common/pages";
import { Ago } from "@/common/time";
import { bytes, count } from "@/format/numbers";
import { stateColor } from "@/format/states";
import { DatastorePageOf } from "./DatastorePageOf";
import css from "./datastores.module.css";

export default function DatastoresPage({ name }: { name?: string }) {
  return name === undefined ? <All /> : <DatastorePageOf key={name} name={name} />;
}

function All() {
  const rows = usePagedRows<DatastoreRow, RowPage<DatastoreRow>>(["datastores"], async (offset, limit, signal) => {
    const page = await get<DatastorePage>("datastores", { offset, limit }, signal);
    return { rows: page.datastores, total: page.total };
  });
  // Nothing tells of uploads: look now and then.
  useInterval(rows.refetch, 5000, { autoInvoke: true });
  return (
    <Page title="Datastores">
      {rows.error ? (
        <Failure error={rows.error} retry={rows.refetch} />
      ) : rows.isLoading ? (
        <Loading what="datastores" />
      ) : rows.total === 0 ? (
        <Empty title="No datastores yet." action={<CommandBlock command="grid datastore create ./my-data --name my-data" />}>
          A datastore is a folder of data that scripts read as <code className="mono">grid:NAME:VERSION</code>. Versions never change. Make one in a terminal:
        </Empty>
      ) : (
        <DataTable
          label="Datastores"
          columns={COLUMNS}
          total={rows.total}
          rowAt={rows.rowAt}
          keyOf={(row) => `${row.name}:${row.version}`}
          onVisible={rows.onVisible}
          maxHeight="calc(100vh - 110px)"
        />
      )}
    </Page>
  );
}

export function StateOf({ row }: { row: { state: string; reason: string } }) {
  return (
    <span style={{ color: row.state === "processing" ? stateColor("running") : stateColor(row.state), fontWeight: 500 }} title={row.reason}>
      {row.state}
    </span>
  );
}

const COLUMNS: Column<DatastoreRow>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(180px, 1.4fr)",
    cell: (row) => (
      <Link className={css.name} href={`/${path("datastores", row.name)}?version=${row.version}`}>
        {row.name}
      </Link>
    ),
  },
  { id: "version", header: "Version", width: "78px", align: "right", cell: (row) => row.version },
  { id: "state", header: "State", width: "110px", cell: (row) => <StateOf row={row} /> },
  { id: "kind", header: "Kind", width: "110px", cell: (row) => row.kind },
  { id: "files", header: "Files", width: "90px", align: "right", cell: (row) => count(row.files) },
  { id: "size", header: "Size", width: "96px", align: "right", cell: (row) => bytes(row.size) },
  { id: "source", header: "Source", width: "minmax(180px, 2fr)", cell: (row) => <span className="mono soft" title={row.source}>{row.source}</span> },
  { id: "user", header: "User", width: "110px", cell: (row) => row.user },
  { id: "created", header: "Created", width: "110px", cell: (row) => <Ago at={row.created_at} /> },
];
