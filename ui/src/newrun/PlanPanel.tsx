/** What would run, or why not; the same as a command; and the start. */
import { Button } from "@mantine/core";
import { problemOf } from "@/api/errors";
import { CommandBlock } from "@/common/copy";
import { Warning } from "@/common/notices";
import { SimulatedBadge } from "@/common/states";
import css from "./newrun.module.css";
import type { LivePlan } from "./usePlan";

interface PlanPanelProps {
  plan: LivePlan;
  hasSource: boolean;
  isStarting: boolean;
  failure: unknown;
}

export function PlanPanel({ plan, hasSource, isStarting, failure }: PlanPanelProps) {
  const { answer, isStale, error } = plan;
  const canStart = answer !== undefined && answer.problem === null && !isStale && !error;
  return (
    <div className={css.panel} aria-busy={isStale}>
      <div className={css.plan} data-stale={isStale || undefined} aria-live="polite">
        {error ? <Problem error={error} /> : <Answer plan={plan} hasSource={hasSource} />}
        {failure !== null && <Problem error={failure} />}
      </div>
      {answer?.command && (
        <details className={css.more}>
          <summary>The same as a command</summary>
          <CommandBlock command={answer.command} />
        </details>
      )}
      <Button type="submit" size="sm" fullWidth disabled={!canStart} loading={isStarting}>
        Start run
      </Button>
    </div>
  );
}

function Answer({ plan: { answer }, hasSource }: { plan: LivePlan; hasSource: boolean }) {
  if (!hasSource) return <span className="soft">Paste a link, and the plan appears here.</span>;
  if (answer === undefined) return <span className="soft">Reading the link…</span>;
  if (answer.problem) {
    return (
      <Warning>
        <strong>{answer.problem.message}</strong>
        {answer.problem.hint && <div>{answer.problem.hint}</div>}
      </Warning>
    );
  }
  return (
    <Warning tone="good">
      <div className={css.sentence}>
        <strong>{answer.sentence}</strong> {answer.plan?.simulated && <SimulatedBadge />}
      </div>
      {answer.plan?.source && <div className="soft">{answer.plan.source}</div>}
      {answer.plan?.reason && <div className="soft">{answer.plan.reason}</div>}
    </Warning>
  );
}

function Problem({ error }: { error: unknown }) {
  const { message, hint } = problemOf(error);
  return (
    <Warning>
      <strong>{message}</strong>
      {hint && <div>{hint}</div>}
    </Warning>
  );
}
