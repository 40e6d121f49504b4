/** Above the table: search, state, columns, CSV. */
import { Button, Menu, ScrollArea, Select } from "@mantine/core";
import { Check, Columns3, Download } from "lucide-react";
import { path, url } from "@/api/client";
import type { TableColumns } from "@/api/types";
import { plural } from "@/format/numbers";
import { SearchField } from "@/runs/Filters";
import css from "./run.module.css";
import { tableRequest, type TableQuery } from "./tableQuery";

const STATES = ["queued", "building", "pending", "running", "succeeded", "failed", "stopped"];

interface TableBarProps {
  run: string;
  query: TableQuery;
  change: (change: Partial<TableQuery>) => void;
  known: TableColumns;
  shown: string[];
  total: number;
}

export function TableBar({ run, query, change, known, shown, total }: TableBarProps) {
  return (
    <div className={css.bar}>
      <h2>{plural(total, "experiment")}</h2>
      <SearchField value={query.search} change={(search) => change({ search })} label="Search experiments" />
      <Select
        aria-label="State"
        placeholder="Any state"
        data={STATES.map((state) => ({ value: state, label: state === "succeeded" ? "Completed" : state[0]!.toUpperCase() + state.slice(1) }))}
        value={query.state}
        onChange={(state) => change({ state })}
        clearable
        clearButtonProps={{ "aria-label": "Any state" }}
        w={140}
      />
      <span className={css.push} />
      <ColumnChoice known={known} shown={shown} choose={(columns) => change({ columns })} />
      <Button
        component="a"
        variant="default"
        leftSection={<Download size={14} />}
        href={url(path("runs", run, "table.csv"), tableRequest(query))}
        download
      >
        CSV
      </Button>
    </div>
  );
}

function ColumnChoice({ known, shown, choose }: { known: TableColumns; shown: string[]; choose: (columns: string[]) => void }) {
  const toggle = (column: string) => choose(shown.includes(column) ? shown.filter((each) => each !== column) : [...shown, column]);
  const box = (column: string, label: string) => (
    <Menu.Item key={column} closeMenuOnClick={false} leftSection={<Check size={14} visibility={shown.includes(column) ? "visible" : "hidden"} />} onClick={() => toggle(column)} role="menuitemcheckbox" aria-checked={shown.includes(column)}>
      {label}
    </Menu.Item>
  );
  return (
    <Menu position="bottom-end" width={260}>
      <Menu.Target>
        <Button variant="default" leftSection={<Columns3 size={14} />}>
          Columns
        </Button>
      </Menu.Target>
      <Menu.Dropdown>
        <ScrollArea.Autosize mah={360} type="auto">
          {known.params.length > 0 && <Menu.Label>Hyperparameters</Menu.Label>}
          {known.params.map((name) => box(`param:${name}`, name))}
          {known.metrics.length > 0 && <Menu.Label>Metrics</Menu.Label>}
          {known.metrics.flatMap(({ tag }) => [box(`metric:${tag}`, `${tag}, best`), box(`metric:${tag}:last`, `${tag}, last`)])}
        </ScrollArea.Autosize>
      </Menu.Dropdown>
    </Menu>
  );
}
