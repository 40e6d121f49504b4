/** All charts of a run or of one experiment, and how they are drawn. */
import { SegmentedControl, Slider, Switch, TextInput } from "@mantine/core";
import { Search } from "lucide-react";
import { useDeferredValue, useState } from "react";
import { Empty } from "@/common/notices";
import { plural } from "@/format/numbers";
import { ChartCard } from "./ChartCard";
import css from "./charts.module.css";
import type { XAxis } from "./series";

const AXES = [
  { value: "step", label: "Step" },
  { value: "relative", label: "Duration" },
  { value: "time", label: "Time" },
];

interface BoardProps {
  /** A run or an experiment: whose news to listen to. */
  topic: string;
  tags: string[];
  experiments: string[];
  /** At most two rows are in view: something else follows. */
  isBounded?: boolean;
}

export function ChartBoard({ topic, tags, experiments, isBounded }: BoardProps) {
  const [search, setSearch] = useState("");
  const [axis, setAxis] = useState<XAxis>("step");
  const [isLog, setLog] = useState(false);
  const [smoothing, setSmoothing] = useState(0);
  const weight = useDeferredValue(smoothing);
  const shown = tags.filter((tag) => tag.toLowerCase().includes(search.trim().toLowerCase()));
  if (tags.length === 0) {
    return (
      <Empty title="No metrics yet.">
        Scalars that the script writes as TensorBoard events appear here while it runs. Lightning writes them by itself with a TensorBoardLogger.
      </Empty>
    );
  }
  return (
    <div className={css.board}>
      <div className={css.bar}>
        <TextInput
          aria-label="Search metrics"
          placeholder={`Search ${plural(tags.length, "metric")}`}
          leftSection={<Search size={14} />}
          value={search}
          onChange={(event) => setSearch(event.currentTarget.value)}
          w={220}
        />
        <SegmentedControl data={AXES} value={axis} onChange={(value) => setAxis(value as XAxis)} aria-label="Horizontal axis" />
        <label className={css.smoothing}>
          <span className="soft">Smoothing</span>
          <Slider w={120} size="xs" min={0} max={0.99} step={0.01} value={smoothing} onChange={setSmoothing} label={(value) => value.toFixed(2)} thumbLabel="Smoothing" />
        </label>
        <Switch label="Log axis" checked={isLog} onChange={(event) => setLog(event.currentTarget.checked)} />
        <span className={css.hint}>Drag to zoom, double-click to see all</span>
      </div>
      {shown.length === 0 && <p className="soft">No metric matches.</p>}
      <div className={css.grid} data-bounded={isBounded || undefined}>
        {shown.map((tag) => (
          <ChartCard key={tag} topic={topic} tag={tag} experiments={experiments} axis={axis} isLog={isLog} smoothing={weight} />
        ))}
      </div>
    </div>
  );
}
