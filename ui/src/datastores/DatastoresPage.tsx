/** All versions of all datastores. */
import { Button } from "@mantine/core";
import { useDisclosure, useInterval } from "@mantine/hooks";
import { Upload } from "lucide-react";
import { Suspense } from "react";
import { get } from "@/api/client";
import type { DatastoreRow } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { DataTable, type Column } from "@/common/DataTable";
import { Empty, Failure, Loading } from "@/common/notices";
import { lazyPart } from "@/common/lazyPart";
import { Page } from "@/common/Page";
import { usePagedRows, type RowPage } from "@/common/pages";
import { Ago } from "@/common/time";
import { bytes, count } from "@/format/numbers";
import { datastorePage } from "@/format/places";
import css from "./datastores.module.css";
import { DatastoreState } from "./DatastoreState";

const UploadDialog = lazyPart(() => import("./UploadDialog"));

export default function DatastoresPage() {
  const [isUploading, { open, close }] = useDisclosure(false);
  const rows = usePagedRows<DatastoreRow, RowPage<DatastoreRow>>({
    key: ["datastores"],
    fetchPage: async (offset, limit, signal) => {
      const page = await get("datastores", { query: { offset, limit }, signal });
      return { rows: page.datastores, total: page.total };
    },
  });
  // Nothing tells of uploads: look now and then.
  useInterval(rows.refetch, 5000, { autoInvoke: true });
  return (
    <Page
      title="Datastores"
      actions={
        <Button variant="default" leftSection={<Upload size={13} />} onClick={open}>
          Upload
        </Button>
      }
    >
      {isUploading && (
        <Suspense>
          <UploadDialog close={close} />
        </Suspense>
      )}
      {rows.error ? (
        <Failure error={rows.error} retry={rows.refetch} />
      ) : rows.isLoading ? (
        <Loading what="datastores" />
      ) : rows.total === 0 ? (
        <Empty title="No datastores yet." action={<CommandBlock command="grid datastore create ./my-data --name my-data" />}>
          A datastore is a folder of data that scripts read as <code className="mono">grid:NAME:VERSION</code>. Versions never change. Upload a small one here, or make one in a terminal:
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

const COLUMNS: Column<DatastoreRow>[] = [
  {
    id: "name",
    header: "Name",
    width: "minmax(220px, 1.8fr)",
    title: (row) => row.name,
    cell: (row) => (
      <a className={css.name} href={datastorePage(row.name, row.version)}>
        {row.name}
      </a>
    ),
  },
  { id: "version", header: "Version", width: "72px", align: "right", cell: (row) => row.version },
  { id: "state", header: "State", width: "100px", cell: (row) => <DatastoreState row={row} /> },
  { id: "kind", header: "Kind", width: "96px", cell: (row) => row.kind },
  { id: "files", header: "Files", width: "90px", align: "right", cell: (row) => count(row.files) },
  { id: "size", header: "Size", width: "96px", align: "right", cell: (row) => bytes(row.size) },
  { id: "source", header: "Source", width: "minmax(180px, 2fr)", className: "mono soft", title: (row) => row.source, cell: (row) => row.source },
  { id: "user", header: "User", width: "110px", cell: (row) => row.user },
  { id: "created", header: "Created", width: "110px", cell: (row) => <Ago at={row.created_at} /> },
];
