/** Charts of a run or of one experiment, and how they are drawn. */
import { Select, Switch, TextInput } from "@mantine/core";
import { useDebouncedCallback } from "@mantine/hooks";
import { Search } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { useSearchParams, withValues } from "@/common/address";
import { plural } from "@/format/numbers";
import { ChartCard, type Chart } from "./ChartCard";
import css from "./charts.module.css";
import type { XAxis } from "./series";
import type { SeriesKind } from "./useSeries";

const AXES: { value: XAxis; label: string }[] = [
  { value: "step", label: "Step" },
  { value: "relative", label: "Duration" },
  { value: "time", label: "Time" },
];

interface BoardProps {
  kind: SeriesKind;
  /** A run or an experiment: whose news to listen to. */
  topic: string;
  charts: Chart[];
  experiments: string[];
  /** At most two rows are in view: something else follows. */
  isBounded?: boolean;
}

export function ChartBoard({ kind, topic, charts, experiments, isBounded }: BoardProps) {
  const [params, setParams] = useSearchParams();
  const put = (name: string, value: string | null) => setParams((now) => withValues(now, { [name]: value }), { replace: true });
  // What is measured has no steps.
  const axes = kind === "system" ? AXES.slice(1) : AXES;
  const axis = (axes.find(({ value }) => value === params.get("x")) ?? axes[0]!).value;
  const isLog = params.get("y") === "log";
  const search = params.get("charts") ?? "";
  const [smoothing, setSmoothing] = useState(() => Math.min(0.99, Number(params.get("smooth")) || 0));
  const putSmoothing = useDebouncedCallback((value: number) => put("smooth", value > 0 ? String(value) : null), 250);
  const weight = useDeferredValue(smoothing);
  const shown = charts.filter(({ title }) => title.toLowerCase().includes(search.trim().toLowerCase()));
  const slide = (value: number) => {
    setSmoothing(value);
    putSmoothing(value);
  };
  return (
    <div className={css.board}>
      <div className={css.bar}>
        <TextInput
          aria-label="Search charts"
          placeholder={`Search ${plural(charts.length, "chart")}`}
          leftSection={<Search size={14} />}
          value={search}
          onChange={(event) => put("charts", event.currentTarget.value)}
          w={220}
        />
        <Select data={axes} value={axis} onChange={(value) => put("x", value === axes[0]!.value ? null : value)} allowDeselect={false} aria-label="Horizontal axis" w={110} />
        <label className={css.smoothing}>
          <span className="soft">Smoothing</span>
          <input type="range" min={0} max={0.99} step={0.01} value={smoothing} onChange={(event) => slide(Number(event.currentTarget.value))} />
          <span className="num">{smoothing.toFixed(2)}</span>
        </label>
        <Switch label="Log axis" checked={isLog} onChange={(event) => put("y", event.currentTarget.checked ? "log" : null)} />
        <span className={css.hint}>Drag to zoom, double-click to see all</span>
      </div>
      {shown.length === 0 && <p className="soft">No chart matches.</p>}
      <div className={css.grid} data-bounded={isBounded || undefined}>
        {shown.map((chart) => (
          <ChartCard key={chart.title} kind={kind} topic={topic} chart={chart} experiments={experiments} axis={axis} isLog={isLog} smoothing={weight} />
        ))}
      </div>
    </div>
  );
}
