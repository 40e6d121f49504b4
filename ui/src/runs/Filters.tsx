/** Search and filters of the list of runs. */
import { CloseButton, Select, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { useQuery } from "@tanstack/react-query";
import { ListFilter, Search, Tag } from "lucide-react";
import { memo, useEffect, useState } from "react";
import { get } from "@/api/client";
import { ChoiceMenu } from "@/common/ChoiceMenu";
import { stateLabel } from "@/format/states";
import type { RunsQuery } from "./query";
import css from "./runs.module.css";

const STATES = [
  { value: "queued", label: "Queued" },
  { value: "running", label: "Running" },
  { value: "completed", label: "Completed" },
  { value: "stopped", label: "Stopped" },
  { value: "failed", label: "Failed" },
];

const SINCE = [
  { value: "1", label: "Last 24 hours" },
  { value: "7", label: "Last 7 days" },
  { value: "30", label: "Last 30 days" },
];

interface FiltersProps {
  query: RunsQuery;
  change: (change: Partial<RunsQuery>) => void;
  /** Whether to ask what can be chosen: the runs themselves come first. */
  isAsking: boolean;
}

/** Drawn anew when the question is another, not with every page of rows. */
export const Filters = memo(function Filters({ query, change, isAsking }: FiltersProps) {
  const known = useQuery({ queryKey: ["run-filters"], queryFn: () => get("run-filters"), staleTime: 30_000, enabled: isAsking });
  const labels = (known.data?.labels ?? []).flatMap(({ key, values }) => values.map((value) => (value ? `${key}=${value}` : key)));
  return (
    <div className={css.filters}>
      <SearchField value={query.search} change={(search) => change({ search })} label="Search runs" />
      <ChoiceMenu label={`State: ${said(query.state.map(stateLabel), "Any state")}`} icon={<ListFilter size={14} />} groups={[{ choices: STATES }]} chosen={query.state} change={(state) => change({ state })}>
        {said(query.state.map(stateLabel), "Any state")}
      </ChoiceMenu>
      <Select
        aria-label="User"
        placeholder="Anyone"
        data={known.data?.users ?? []}
        value={query.user}
        onChange={(user) => change({ user })}
        clearable
        clearButtonProps={{ "aria-label": "Anyone" }}
        searchable
        w={130}
      />
      {labels.length > 0 && (
        <ChoiceMenu
          label={`Label: ${said(query.label, "Any label")}`}
          icon={<Tag size={14} />}
          groups={[{ choices: [...new Set([...labels, ...query.label])].map((label) => ({ value: label, label })) }]}
          chosen={query.label}
          change={(label) => change({ label })}
        >
          {said(query.label, "Any label")}
        </ChoiceMenu>
      )}
      <Select
        aria-label="Created"
        placeholder="Any time"
        data={SINCE}
        value={daysOf(query.since)}
        onChange={(days) => change({ since: days === null ? null : sinceDays(Number(days)) })}
        clearable
        clearButtonProps={{ "aria-label": "Any time" }}
        w={140}
      />
    </div>
  );
});

/** What is chosen, shortly; else what stands for nothing. */
function said(chosen: string[], none: string): string {
  return chosen.length > 2 ? `${chosen.length} chosen` : chosen.join(", ") || none;
}

/** A field whose text counts when the typing pauses. */
export function SearchField({ value, change, label }: { value: string; change: (text: string) => void; label: string }) {
  const [text, setText] = useState(value);
  const say = useDebouncedCallback(change, 250);
  useEffect(() => setText(value), [value]);
  const type = (typed: string) => {
    setText(typed);
    say(typed);
  };
  return (
    <TextInput
      aria-label={label}
      placeholder={label}
      leftSection={<Search size={14} />}
      rightSection={text && <CloseButton size="xs" aria-label="Clear" onClick={() => type("")} />}
      value={text}
      onChange={(event) => type(event.currentTarget.value)}
      w={230}
    />
  );
}

function sinceDays(days: number): string {
  return new Date(Date.now() - days * 86_400_000).toISOString().slice(0, 10);
}

function daysOf(since: string | null): string | null {
  if (since === null) return null;
  const days = Math.round((Date.now() - Date.parse(since)) / 86_400_000);
  return SINCE.reduce((best, each) => (Math.abs(Number(each.value) - days) < Math.abs(Number(best.value) - days) ? each : best)).value;
}
