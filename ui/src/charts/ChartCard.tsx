/** One chart: a scalar over all chosen experiments, or one thing that agents measure, of each rank, GPU or machine. */
import { ActionIcon, Tooltip } from "@mantine/core";
import { useIntersection } from "@mantine/hooks";
import { Maximize2, Minimize2, ZoomOut } from "lucide-react";
import { useMemo, useState } from "react";
import { problemOf } from "@/api/errors";
import type { Series } from "@/api/types";
import css from "./charts.module.css";
import { LineChart, type Line } from "./LineChart";
import { metric, plural } from "@/format/numbers";
import { nameOf } from "./palette";
import { firstNotFinite, xOf, type XAxis } from "./series";
import { smooth } from "./smooth";
import { useSeries, type SeriesKind, type Viewport } from "./useSeries";

/** What is drawn together. */
export interface Chart {
  title: string;
  /** Series of every experiment that has them. */
  tags: string[];
  unit?: string;
}

interface ChartCardProps {
  kind: SeriesKind;
  topic: string;
  chart: Chart;
  experiments: string[];
  axis: XAxis;
  isLog: boolean;
  smoothing: number;
}

const PIXELS = 700;

/** Series that are named below a chart. */
const MOST_NAMED = 8;

export function ChartCard({ kind, topic, chart, experiments, axis, isLog, smoothing }: ChartCardProps) {
  const [viewport, setViewport] = useState<Viewport | null>(null);
  const [isLarge, setLarge] = useState(false);
  const [hover, setHover] = useState<Parameters<React.ComponentProps<typeof LineChart>["onHover"]>[0]>(null);
  const { ref, entry } = useIntersection({ rootMargin: "300px" });
  const series = useSeries({ kind, topic, experiments, tags: chart.tags, axis, viewport, pixels: isLarge ? 2 * PIXELS : PIXELS, enabled: entry?.isIntersecting ?? false });
  const lines = useMemo(() => toLines(series.data?.series ?? [], axis, smoothing), [series.data, axis, smoothing]);
  const strange = useMemo(() => firstNotFinite(series.data?.series ?? []).slice(0, MOST_NAMED), [series.data]);
  const { title } = chart;
  const total = series.data?.series.reduce((sum, each) => sum + each.total, 0) ?? 0;
  return (
    <section className={css.card} data-large={isLarge || undefined} ref={ref} aria-label={title}>
      <header className={css.head}>
        <h3 className={chart.unit === undefined ? "mono ellipsis" : "ellipsis"} title={title}>
          {title}
        </h3>
        {viewport && (
          <Tooltip label="Show all">
            <ActionIcon size="sm" aria-label={`Show all of ${title}`} onClick={() => setViewport(null)}>
              <ZoomOut size={14} />
            </ActionIcon>
          </Tooltip>
        )}
        <Tooltip label={isLarge ? "Smaller" : "Larger"}>
          <ActionIcon size="sm" aria-label={isLarge ? `Make ${title} smaller` : `Make ${title} larger`} onClick={() => setLarge(!isLarge)}>
            {isLarge ? <Minimize2 size={13} /> : <Maximize2 size={13} />}
          </ActionIcon>
        </Tooltip>
      </header>
      {series.error && !series.data ? (
        <p className="soft">{problemOf(series.error).message}</p>
      ) : (
        <LineChart
          label={`${title}, ${plural(total, "point")} of ${plural(lines.filter((line) => !line.isFaint).length, "line")}`}
          unit={chart.unit}
          lines={lines}
          axis={axis}
          isLog={isLog}
          height={isLarge ? 380 : 190}
          onZoom={setViewport}
          onHover={setHover}
        />
      )}
      <div className={css.readout} aria-hidden={hover === null && strange.length === 0}>
        {hover === null &&
          strange.map(({ of, step, text }) => {
            const { label, color } = nameOf(of);
            return (
              <span key={label}>
                <i style={{ background: color }} />
                <span className="soft">{label}</span> {text} at step {metric(step)}
              </span>
            );
          })}
        {hover && <span className="soft">{hover.x}</span>}
        {hover?.rows.slice(0, MOST_NAMED).map((row) => (
          <span key={row.label}>
            <i style={{ background: row.color }} />
            <span className="soft">{row.label}</span> {row.value}
          </span>
        ))}
      </div>
    </section>
  );
}

function toLines(series: Series[], axis: XAxis, smoothing: number): Line[] {
  return series.flatMap((each) => {
    const { label, color } = nameOf(each);
    const line = { label, color, x: xOf(each, axis), y: each.values };
    return smoothing > 0 ? [{ ...line, isFaint: true }, { ...line, y: smooth(each.values, smoothing) }] : [line];
  });
}
