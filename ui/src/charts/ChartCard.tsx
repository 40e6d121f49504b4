/** One tag over all chosen experiments. */
import { ActionIcon, Tooltip } from "@mantine/core";
import { useIntersection } from "@mantine/hooks";
import { Maximize2, Minimize2, ZoomOut } from "lucide-react";
import { useMemo, useState } from "react";
import { problemOf } from "@/api/errors";
import type { Series } from "@/api/types";
import css from "./charts.module.css";
import { LineChart, type Line } from "./LineChart";
import { colorOf, indexOf } from "./palette";
import { xOf, type XAxis } from "./series";
import { smooth } from "./smooth";
import { useSeries, type Viewport } from "./useSeries";

interface ChartCardProps {
  topic: string;
  tag: string;
  experiments: string[];
  axis: XAxis;
  isLog: boolean;
  smoothing: number;
}

const PIXELS = 700;

export function ChartCard({ topic, tag, experiments, axis, isLog, smoothing }: ChartCardProps) {
  const [viewport, setViewport] = useState<Viewport | null>(null);
  const [isLarge, setLarge] = useState(false);
  const [hover, setHover] = useState<Parameters<React.ComponentProps<typeof LineChart>["onHover"]>[0]>(null);
  const { ref, entry } = useIntersection({ rootMargin: "300px" });
  const series = useSeries({ topic, experiments, tag, axis, viewport, pixels: isLarge ? 2 * PIXELS : PIXELS, enabled: entry?.isIntersecting ?? false });
  const lines = useMemo(() => toLines(series.data?.series ?? [], axis, smoothing), [series.data, axis, smoothing]);
  const total = series.data?.series.reduce((sum, each) => sum + each.total, 0) ?? 0;
  return (
    <section className={css.card} data-large={isLarge || undefined} ref={ref} aria-label={tag}>
      <header className={css.head}>
        <h3 className="mono ellipsis" title={tag}>
          {tag}
        </h3>
        {viewport && (
          <Tooltip label="Show all">
            <ActionIcon size="sm" aria-label={`Show all of ${tag}`} onClick={() => setViewport(null)}>
              <ZoomOut size={14} />
            </ActionIcon>
          </Tooltip>
        )}
        <Tooltip label={isLarge ? "Smaller" : "Larger"}>
          <ActionIcon size="sm" aria-label={isLarge ? `Make ${tag} smaller` : `Make ${tag} larger`} onClick={() => setLarge(!isLarge)}>
            {isLarge ? <Minimize2 size={13} /> : <Maximize2 size={13} />}
          </ActionIcon>
        </Tooltip>
      </header>
      {series.error && !series.data ? (
        <p className="soft">{problemOf(series.error).message}</p>
      ) : (
        <LineChart
          label={`${tag}, ${total} points of ${experiments.length} experiments`}
          lines={lines}
          axis={axis}
          isLog={isLog}
          height={isLarge ? 380 : 190}
          onZoom={setViewport}
          onHover={setHover}
        />
      )}
      <div className={css.readout} aria-hidden={hover === null}>
        {hover && <span className="soft">{hover.x}</span>}
        {hover?.rows.slice(0, 8).map((row) => (
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
    const line = { label: `exp${indexOf(each.experiment)}`, color: colorOf(indexOf(each.experiment)), x: xOf(each, axis), y: each.values };
    return smoothing > 0 ? [{ ...line, isFaint: true }, { ...line, y: smooth(each.values, smoothing) }] : [line];
  });
}
