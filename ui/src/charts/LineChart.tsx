/** uPlot behind one component; nothing else imports it. */
import { useComputedColorScheme } from "@mantine/core";
import { useElementSize } from "@mantine/hooks";
import { useEffect, useRef } from "react";
import uPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import { metric, withUnit } from "@/format/numbers";
import { duration } from "@/format/times";
import type { XAxis } from "./series";

export interface Line {
  label: string;
  color: string;
  x: number[];
  y: (number | null)[];
  isFaint?: boolean;
}

/** What ticks of bytes lie apart. */
const POWERS_OF_TWO = Array.from({ length: 51 }, (_, power) => 2 ** power);

interface LineChartProps {
  label: string;
  lines: Line[];
  axis: XAxis;
  isLog: boolean;
  height: number;
  /** Of values that are shares or amounts: the vertical axis begins at 0, so that they are seen as what they are. */
  unit?: string;
  onZoom: (viewport: { min: number; max: number } | null) => void;
  onHover: (values: { x: string; rows: { label: string; color: string; value: string }[] } | null) => void;
}

export function LineChart(props: LineChartProps) {
  const { lines, axis, isLog, unit, height, label } = props;
  const isFromZero = unit !== undefined;
  const { ref: frame, width } = useElementSize<HTMLDivElement>();
  const place = useRef<HTMLDivElement>(null);
  const chart = useRef<uPlot | null>(null);
  const calls = useRef(props);
  calls.current = props;
  const scheme = useComputedColorScheme("light");
  const shape = lines.map((line) => `${line.label}\t${line.color}\t${line.isFaint ?? ""}`).join("\n");

  useEffect(() => {
    if (place.current === null || width === 0) return;
    const ink = scheme === "light" ? "#59626d" : "#a2abb5";
    const grid = { stroke: scheme === "light" ? "#eceef0" : "#25292e", width: 1 };
    const font = "11px Inter, sans-serif";
    const made = new uPlot(
      {
        width,
        height,
        padding: [8, 12, 0, 0],
        legend: { show: false },
        cursor: { drag: { x: true, y: false, setScale: false }, points: { size: 6 }, focus: { prox: 16 } },
        focus: { alpha: 0.35 },
        scales: { x: { time: axis === "time" }, y: { distr: isLog ? 3 : 1, range: isFromZero && !isLog ? (_, __, most) => [0, most > 0 ? most * 1.08 : 1] : undefined } },
        axes: [
          { stroke: ink, font, grid, ticks: grid, size: 30, values: axis === "relative" ? (_, ticks) => shortTimes(ticks) : axis === "step" ? (_, ticks) => ticks.map((tick) => metric(tick)) : undefined },
          { stroke: ink, font, grid, ticks: grid, size: isFromZero ? 76 : 56, incrs: unit?.startsWith("B") ? POWERS_OF_TWO : undefined, values: (_, ticks) => ticks.map((tick) => (tick === null ? "" : withUnit(tick, unit))) },
        ],
        series: [
          {},
          ...calls.current.lines.map((line) => ({
            label: line.label,
            stroke: line.isFaint ? `${line.color}40` : line.color,
            width: line.isFaint ? 1 : 1.5,
            points: { show: (u: uPlot, series: number) => isSinglePoint(u, series), size: 5, fill: line.color },
          })),
        ],
        hooks: {
          setSelect: [
            (u) => {
              if (u.select.width < 4) return;
              calls.current.onZoom({ min: u.posToVal(u.select.left, "x"), max: u.posToVal(u.select.left + u.select.width, "x") });
              u.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false);
            },
          ],
          setCursor: [(u) => calls.current.onHover(hovered(u, calls.current))],
        },
      },
      aligned(calls.current.lines),
      place.current,
    );
    made.over.addEventListener("dblclick", () => calls.current.onZoom(null));
    chart.current = made;
    return () => made.destroy();
  }, [width === 0, height, axis, isLog, unit, scheme, shape]);

  useEffect(() => {
    if (width > 0) chart.current?.setSize({ width, height });
  }, [width, height]);

  useEffect(() => chart.current?.setData(aligned(lines)), [lines]);

  return (
    <div ref={frame} style={{ height }} role="img" aria-label={label} onMouseLeave={() => props.onHover(null)}>
      <div ref={place} />
    </div>
  );
}

/** Durations on an axis; where they lie closer than seconds, with tenths. */
function shortTimes(ticks: number[]): string[] {
  const isShort = ticks.length > 1 && ticks[1]! - ticks[0]! < 1;
  return ticks.map((tick) => (isShort ? `${tick.toFixed(1)} s` : duration(tick)));
}

/** A line of one point would not be seen. */
function isSinglePoint(u: uPlot, series: number): boolean {
  let points = 0;
  for (const value of u.data[series] ?? []) if (value != null) points += 1;
  return points === 1;
}

/** One x for all lines; what a line lacks at another's x is no gap. */
function aligned(lines: Line[]): uPlot.AlignedData {
  if (lines.length === 0) return [[]];
  if (lines.length === 1) return [lines[0]!.x, lines[0]!.y];
  return uPlot.join(lines.map((line) => [line.x, line.y] as uPlot.AlignedData));
}

function hovered(u: uPlot, { lines, axis, unit }: LineChartProps): Parameters<LineChartProps["onHover"]>[0] {
  const index = u.cursor.idx;
  if (index == null || u.cursor.left == null || u.cursor.left < 0) return null;
  const x = u.data[0][index]!;
  const rows = lines.flatMap((line, position) => {
    const value = u.data[position + 1]?.[index];
    return line.isFaint || value == null ? [] : [{ label: line.label, color: line.color, value: withUnit(value, unit) }];
  });
  const text = axis === "step" ? `step ${metric(x)}` : axis === "relative" ? duration(x) : new Date(x * 1000).toLocaleString();
  return { x: text, rows };
}
