/** The scalars of one experiment. */
import { MetricCharts } from "@/charts/MetricCharts";
import { useExperimentTags } from "@/charts/useTags";
import type { ExperimentDocument } from "@/api/types";
import { Failure, Loading, Warning } from "@/common/notices";

export default function Metrics({ experiment }: { experiment: ExperimentDocument }) {
  const tags = useExperimentTags(experiment.experiment);
  if (tags.error && !tags.data) return <Failure error={tags.error} retry={() => void tags.refetch()} />;
  if (tags.data === undefined) return <Loading what="metrics" />;
  return (
    <>
      {tags.data.problems.map((problem) => (
        <Warning key={problem.path} tone="warn">
          <span className="mono">{problem.path}</span> of node {problem.node}: {problem.reason}
        </Warning>
      ))}
      <MetricCharts topic={experiment.experiment} tags={tags.data.tags} experiments={[experiment.experiment]} />
    </>
  );
}
