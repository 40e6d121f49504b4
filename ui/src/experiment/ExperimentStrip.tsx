import type { ExperimentDocument } from "@/api/types";
import { Fact, Strip } from "@/common/Strip";
import { Lasting } from "@/common/time";
import { gpusSentence } from "@/format/machines";
import { dollars, hourly } from "@/format/numbers";

/** The facts of an experiment that one looks for first. */
export function ExperimentStrip({ experiment }: { experiment: ExperimentDocument }) {
  const { created_at, started_at, ended_at, hourly_cost, cost, world_size, price_per_hour } = experiment;
  return (
    <Strip>
      <Fact name="GPUs">{gpusSentence(experiment)}</Fact>
      <Fact name="World size">{world_size}</Fact>
      <Fact name="Queued">
        <Lasting from={created_at} to={started_at ?? ended_at} />
      </Fact>
      <Fact name="Run time">
        <Lasting from={started_at} to={ended_at} />
      </Fact>
      <Fact name="Cost per hour" note={hourly_cost === 0 && price_per_hour > 0 ? `list price ${hourly(price_per_hour)}` : undefined}>
        {hourly(hourly_cost)}
      </Fact>
      <Fact name="Cost so far">{dollars(cost)}</Fact>
    </Strip>
  );
}
