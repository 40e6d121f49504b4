/** Above the table: search, state, columns, CSV. */
import { Button, Select } from "@mantine/core";
import { Columns3, Download } from "lucide-react";
import { url } from "@/api/client";
import type { TableColumns } from "@/api/types";
import { ChoiceMenu, type ChoiceGroup } from "@/common/ChoiceMenu";
import { plural } from "@/format/numbers";
import { stateLabel } from "@/format/states";
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
        data={STATES.map((state) => ({ value: state, label: stateLabel(state) }))}
        value={query.state}
        onChange={(state) => change({ state })}
        clearable
        clearButtonProps={{ "aria-label": "Any state" }}
        w={140}
      />
      <span className={css.push} />
      <ChoiceMenu icon={<Columns3 size={14} />} groups={columnGroups(known)} chosen={shown} change={(columns) => change({ columns })} position="bottom-end">
        Columns
      </ChoiceMenu>
      <Button
        component="a"
        variant="default"
        leftSection={<Download size={14} />}
        href={url("runs/{name}/table.csv", { path: { name: run }, query: tableRequest(query) })}
        download
      >
        CSV
      </Button>
    </div>
  );
}

function columnGroups(known: TableColumns): ChoiceGroup[] {
  const metrics = known.metrics.flatMap(({ tag }) => [
    { value: `metric:${tag}`, label: `${tag}, best` },
    { value: `metric:${tag}:last`, label: `${tag}, last` },
  ]);
  return [
    { title: "Hyperparameters", choices: known.params.map((name) => ({ value: `param:${name}`, label: name })) },
    { title: "Metrics", choices: metrics },
  ];
}
