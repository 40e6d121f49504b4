/** One version of a datastore: what it is, its files, who uses it. */
import { Button, Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Trash2 } from "lucide-react";
import type { ReactNode } from "react";
import { useLocation } from "wouter";
import { get, remove } from "@/api/client";
import { isMissing } from "@/api/errors";
import type { DatastoreDetails, DatastoreFile } from "@/api/types";
import { useSearchParams, withValues } from "@/common/address";
import { useConfirm } from "@/common/confirm";
import { CommandBlock } from "@/common/copy";
import { DataTable, type Column } from "@/common/DataTable";
import { Empty, Failure, Loading } from "@/common/notices";
import { Card, Facts, Page } from "@/common/Page";
import { usePagedRows, type RowPage } from "@/common/pages";
import { Ago } from "@/common/time";
import { bytes, count } from "@/format/numbers";
import { runPage } from "@/format/places";
import { SearchField } from "@/runs/Filters";
import css from "./datastores.module.css";
import { DatastoreState } from "./DatastoreState";

export default function DatastorePage({ name }: { name: string }) {
  const [params, setParams] = useSearchParams();
  const versions = useQuery({ queryKey: ["datastores", "of", name], queryFn: () => get("datastores", { query: { name, limit: 500 } }) });
  const numbers = (versions.data?.datastores ?? []).map((row) => row.version);
  const version = Number(params.get("version") ?? numbers[0] ?? 0);
  const details = useQuery({
    queryKey: ["datastore", name, version],
    queryFn: () => get("datastores/{name}/{version}", { path: { name, version } }),
    enabled: version > 0,
    // Nothing tells of uploads: look now and then.
    refetchInterval: ({ state }) => (state.data?.state === "processing" ? 2000 : false),
  });
  const error = details.error ?? versions.error;
  const isAbsent = isMissing(error) || (versions.data !== undefined && numbers.length === 0);
  return (
    <Page
      title={name}
      above={
        <a className="link" href="/datastores">
          Datastores
        </a>
      }
      actions={
        numbers.length > 0 ? (
          <>
            <Select
              aria-label="Version"
              data={numbers.map((number) => ({ value: String(number), label: `Version ${number}` }))}
              value={String(version)}
              onChange={(chosen) => chosen !== null && setParams({ version: chosen })}
              allowDeselect={false}
              w={130}
            />
            {details.data && <Delete datastore={details.data} />}
          </>
        ) : undefined
      }
    >
      {isAbsent ? (
        <Empty title={`There is no datastore ${name}${version ? `:${version}` : ""}.`}>It may have been deleted.</Empty>
      ) : error ? (
        <Failure error={error} retry={() => void details.refetch()} />
      ) : details.data === undefined ? (
        <Loading what={name} />
      ) : (
        <Version datastore={details.data} />
      )}
    </Page>
  );
}

function Version({ datastore }: { datastore: DatastoreDetails }) {
  return (
    <>
      <div className={css.halves}>
        <Card title={`Version ${datastore.version}`}>
          <Facts
            facts={[
              ["State", <DatastoreState row={datastore} />],
              ...(datastore.reason ? [["Reason", datastore.reason] as [string, string]] : []),
              ...(datastore.may_go_on
                ? [["To go on", <CommandBlock command={`grid datastore resume ${datastore.name}:${datastore.version}`} />] as [string, ReactNode]]
                : []),
              ["Size", `${bytes(datastore.size)} in ${count(datastore.files)} files`],
              ["Source", <code className="mono">{datastore.source}</code>],
              ["Kind", datastore.kind],
              ["Kept at", <code className="mono">{datastore.location}</code>],
              ["Protection", datastore.protection],
              ["Created", <Ago at={datastore.created_at} />],
              ["By", datastore.user],
            ]}
          />
        </Card>
        <Card title="Used by">
          <Uses datastore={datastore} />
          <h3 className={css.how}>In a script's arguments</h3>
          <CommandBlock command={`grid:${datastore.name}:${datastore.version}`} label="Copy reference" />
        </Card>
      </div>
      {datastore.state === "succeeded" && <Files name={datastore.name} version={datastore.version} />}
    </>
  );
}

function Uses({ datastore }: { datastore: DatastoreDetails }) {
  if (datastore.used_by.length === 0) return <span className="soft">No run has used it yet.</span>;
  return (
    <ul className={css.uses}>
      {datastore.used_by.map((use) => (
        <li key={use.run}>
          <a className="link" href={runPage(use.run)}>
            {use.run}
          </a>
          <span className="soft">{use.active ? "active" : "over"}</span>
        </li>
      ))}
    </ul>
  );
}

function Files({ name, version }: { name: string; version: number }) {
  const [params, setParams] = useSearchParams();
  const search = params.get("search") ?? "";
  const files = usePagedRows<DatastoreFile, RowPage<DatastoreFile>>({
    key: ["datastore-files", name, version, search],
    fetchPage: async (offset, limit, signal) => {
      const page = await get("datastores/{name}/{version}/files", { path: { name, version }, query: { offset, limit, search }, signal });
      return { rows: page.files, total: page.total };
    },
  });
  return (
    <>
      <div className={css.bar}>
        <h2>
          Files <span className="soft num">{count(files.total)}</span>
        </h2>
        <SearchField value={search} change={(text) => setParams((now) => withValues(now, { search: text }), { replace: true })} label="Search files" />
      </div>
      {files.error ? (
        <Failure error={files.error} retry={files.refetch} />
      ) : files.total === 0 && !files.isLoading ? (
        <p className="soft">No file matches.</p>
      ) : (
        <DataTable label="Files" columns={FILES} total={files.total} rowAt={files.rowAt} keyOf={(row) => row.path} onVisible={files.onVisible} maxHeight="52vh" />
      )}
    </>
  );
}

const FILES: Column<DatastoreFile>[] = [
  { id: "path", header: "Path", width: "minmax(240px, 3fr)", className: "mono", title: (row) => row.path, cell: (row) => row.path },
  { id: "size", header: "Size", width: "100px", align: "right", cell: (row) => bytes(row.size) },
  { id: "sha256", header: "SHA-256 or pin", width: "minmax(160px, 1.6fr)", className: "mono soft", cell: (row) => row.sha256 || row.pin },
];

function Delete({ datastore: { name, version } }: { datastore: DatastoreDetails }) {
  const [ask, dialog] = useConfirm();
  const [, navigate] = useLocation();
  const askDelete = () =>
    ask({
      title: `Delete ${name}:${version}?`,
      text: "The version and its files are removed for good. Other versions stay. A version that a run still uses is kept.",
      action: "Delete version",
      isDangerous: true,
      act: async () => {
        await remove("datastores/{name}/{version}", { path: { name, version } });
        navigate("/datastores");
      },
    });
  return (
    <>
      <Button variant="default" leftSection={<Trash2 size={13} />} onClick={askDelete}>
        Delete version
      </Button>
      {dialog}
    </>
  );
}
