/** Name, data, environment, and what is rarely changed. */
import { Select, Switch, Textarea, TextInput } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { get } from "@/api/client";
import { parseLines, toLines } from "./fields";
import css from "./newrun.module.css";
import type { FormPart } from "./NewRunForm";
import { NumberField } from "./NumberField";

export function MoreFields(part: FormPart & { suggestedName?: string }) {
  const { form, change, problemOf, suggestedName } = part;
  return (
    <>
      <div className={css.columns}>
        <TextInput
          label="Run name"
          placeholder={suggestedName ?? "made up when it starts"}
          value={form.name ?? ""}
          onChange={(event) => change({ name: event.currentTarget.value || null })}
          error={problemOf("name")}
          spellCheck={false}
        />
        <Datastore {...part} />
      </div>
      <Lines
        label="Environment variables"
        description="One KEY=VALUE a line"
        value={form.environment}
        change={(environment) => change({ environment })}
        error={problemOf("environment")}
      />
      <div className={css.switches}>
        <Switch
          label="Spot machines"
          checked={form.use_spot}
          onChange={(event) => change({ use_spot: event.currentTarget.checked })}
          error={problemOf("use_spot")}
        />
        <Switch
          label="Resume by itself"
          checked={form.auto_resume}
          onChange={(event) => change({ auto_resume: event.currentTarget.checked })}
        />
        <Switch label="Simulate" checked={form.simulate} onChange={(event) => change({ simulate: event.currentTarget.checked })} />
      </div>
      <details className={css.more}>
        <summary>More options</summary>
        <Rare {...part} />
      </details>
    </>
  );
}

function Rare({ form, change, problemOf }: FormPart) {
  const number = (name: "cpus" | "processes_per_node" | "parallel" | "max_restarts", label: string, placeholder: string) => (
    <NumberField
      label={label}
      placeholder={placeholder}
      value={form[name]}
      change={(value) => change({ [name]: value })}
      error={problemOf(name)}
      min={0}
    />
  );
  return (
    <div className={css.group}>
      <TextInput
        label="Description"
        value={form.description}
        onChange={(event) => change({ description: event.currentTarget.value })}
      />
      <div className={css.columns}>
        {number("cpus", "CPUs per node", "2 per GPU")}
        {number("processes_per_node", "Processes per node", "one per GPU")}
        {number("parallel", "Experiments at once", "as many as fit")}
        {number("max_restarts", "Restarts", "3 after failures of machines")}
        <TextInput
          label="Mount the datastore at"
          placeholder="/datastores/NAME"
          value={form.datastore_mount_dir ?? ""}
          onChange={(event) => change({ datastore_mount_dir: event.currentTarget.value || null })}
          error={problemOf("datastore_mount_dir")}
        />
        <TextInput
          label="Python"
          placeholder="the server's own"
          value={form.python ?? ""}
          onChange={(event) => change({ python: event.currentTarget.value || null })}
          error={problemOf("python")}
        />
      </div>
      <Lines label="Labels" description="One KEY=VALUE a line" value={form.labels} change={(labels) => change({ labels })} error={problemOf("labels")} />
    </div>
  );
}

function Datastore({ form, change, problemOf }: FormPart) {
  const stores = useQuery({
    queryKey: ["datastores", "choices"],
    queryFn: () => get("datastores", { query: { limit: 500 } }),
  });
  const known = (stores.data?.datastores ?? []).filter((row) => row.state === "succeeded").map((row) => `${row.name}:${row.version}`);
  const data = [...new Set([...known, ...(form.datastore ? [form.datastore] : [])])];
  return (
    <Select
      label="Datastore"
      placeholder={data.length ? "none" : "there is none yet"}
      data={data}
      value={form.datastore}
      onChange={(datastore) => change({ datastore })}
      error={problemOf("datastore", "datastore_name", "datastore_version")}
      disabled={data.length === 0}
      clearable
      clearButtonProps={{ "aria-label": "No datastore" }}
      searchable
    />
  );
}

interface LinesProps {
  label: string;
  description: string;
  value: Record<string, string>;
  change: (map: Record<string, string>) => void;
  error?: string;
}

function Lines({ label, description, value, change, error }: LinesProps) {
  const [text, setText] = useState(toLines(value));
  const type = (typed: string) => {
    setText(typed);
    change(parseLines(typed));
  };
  return (
    <Textarea
      label={label}
      description={description}
      value={text}
      onChange={(event) => type(event.currentTarget.value)}
      error={error}
      autosize
      minRows={1}
      maxRows={6}
      spellCheck={false}
      classNames={{ input: "mono" }}
    />
  );
}
