import type { RunSummary } from "@/api/types";
import { CountBar } from "@/common/states";
import { Fact, Strip } from "@/common/Strip";
import { Ago, Lasting } from "@/common/time";
import { gpusSentence } from "@/format/machines";
import { dollars, hourly, plural } from "@/format/numbers";
import css from "./run.module.css";

/** The facts of a run that one looks for first. */
export function RunStrip({ run }: { run: RunSummary }) {
  const counts = (["queued", "running", "completed", "stopped", "failed"] as const).filter((key) => run[key] > 0);
  return (
    <Strip>
      <Fact name="Experiments">
        <div className={css.counts}>
          {plural(run.experiments, "experiment")}
          <span className="soft">{counts.map((key) => `${run[key]} ${key}`).join(", ")}</span>
          <CountBar run={run} />
        </div>
      </Fact>
      <Fact name="GPUs per experiment">{gpusSentence(run)}</Fact>
      <Fact name="Run time">
        <Lasting from={run.started_at} to={run.ended_at} />
      </Fact>
      <Fact name="Cost per hour">{hourly(run.hourly_cost)}</Fact>
      <Fact name="Cost so far">{dollars(run.cost)}</Fact>
      <Fact name="Started by">{run.user}</Fact>
      <Fact name="Created">
        <Ago at={run.created_at} />
      </Fact>
    </Strip>
  );
}
