/** Why it failed: which rank, where, and what to do. */
import type { ExperimentDocument, RootCause } from "@/api/types";
import { plural } from "@/format/numbers";
import { logsPage } from "@/format/places";
import css from "./experiment.module.css";

interface RootCauseProps {
  experiment: ExperimentDocument;
  cause: RootCause;
  /** Without its last words: something else is looked at. */
  isBrief: boolean;
}

export function RootCauseCard({ experiment, cause, isBrief }: RootCauseProps) {
  const where = [
    cause.rank === null ? null : `rank ${cause.rank}`,
    cause.node === null ? null : `node ${cause.node}`,
    cause.machine === null ? null : `machine ${cause.machine}`,
    cause.signal ?? (cause.exit_code === null ? null : `exit code ${cause.exit_code}`),
  ].filter((part) => part !== null);
  return (
    <section className={css.cause} aria-label="Why it failed">
      <div className={css.causeHead}>
        <h2>{cause.cause}</h2>
        <a className="link" href={logsPage(experiment.experiment, cause.rank)}>
          {cause.rank === null ? "Logs" : `Logs of rank ${cause.rank}`}
        </a>
      </div>
      <div className={css.where}>
        {where.length > 0 && <span>{where.join(" · ")}</span>}
        {cause.frame && <code className="mono">{cause.frame}</code>}
      </div>
      {cause.hint && <p>{cause.hint}</p>}
      {cause.log_tail && !isBrief && (
        <pre className={css.tail} tabIndex={0} aria-label="Last lines of its output">
          {cause.log_tail}
        </pre>
      )}
      {cause.victims.length > 0 && !isBrief && (
        <p className="soft">
          {plural(cause.victims.length, "other rank")} ended because of it: {cause.victims.slice(0, 32).join(", ")}
          {cause.victims.length > 32 && " …"}
        </p>
      )}
    </section>
  );
}
