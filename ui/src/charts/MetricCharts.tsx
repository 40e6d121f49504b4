/** A chart for each scalar, or what to do when there is none. */
import { useMemo } from "react";
import { Empty } from "@/common/notices";
import { ChartBoard } from "./ChartBoard";

interface MetricChartsProps {
  topic: string;
  tags: { tag: string }[];
  experiments: string[];
  isBounded?: boolean;
}

export function MetricCharts({ tags, ...board }: MetricChartsProps) {
  const charts = useMemo(() => tags.map(({ tag }) => ({ title: tag, tags: [tag] })), [tags]);
  if (tags.length === 0) {
    return (
      <Empty title="No metrics yet.">
        What the script writes for TensorBoard appears here while it runs, and what Lightning&apos;s self.log() gets.
      </Empty>
    );
  }
  return <ChartBoard kind="scalars" charts={charts} {...board} />;
}
