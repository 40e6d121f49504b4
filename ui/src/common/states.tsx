/** How states look, everywhere the same. */
import type { RunRow } from "@/api/types";
import { stateColor, stateLabel } from "@/format/states";
import css from "./states.module.css";

export function StateBadge({ state, stopping = false }: { state: string; stopping?: boolean }) {
  return (
    <span className={css.state} style={{ color: stateColor(state) }} data-state={state}>
      {stopping ? "Stopping" : stateLabel(state)}
    </span>
  );
}

const SIMULATED =
  "Simulated: every GPU is a CPU process on this computer. Topology, environment, logs and failures are as on real machines; speed and memory are not. It costs nothing.";

/** What runs on simulated machines is no measurement: the badge says so on every row and page. */
export function SimulatedBadge() {
  return (
    <span className={css.simulated} title={SIMULATED}>
      simulated
    </span>
  );
}

const COUNTS = [
  ["queued", "Q", "queued"],
  ["running", "R", "running"],
  ["completed", "C", "completed"],
  ["stopped", "S", "stopped"],
  ["failed", "F", "failed"],
] as const;

/** A run's state, from its experiments: what is going on first, then the worst of what is over. */
export function runState(run: RunRow): string {
  if (run.running > 0) return "running";
  if (run.queued > 0) return "queued";
  if (run.failed > 0) return "failed";
  return run.stopped > 0 ? "stopped" : "succeeded";
}

/** The experiments of a run as one bar of colours. */
export function CountBar({ run }: { run: RunRow }) {
  const parts = COUNTS.map(([key, , word]) => ({ key, word, value: run[key] })).filter((part) => part.value > 0);
  const label = parts.map((part) => `${part.value} ${part.word}`).join(", ");
  return (
    <span className={css.bar} role="img" aria-label={label || "no experiments"} title={label}>
      {parts.map((part) => (
        <span key={part.key} style={{ flexGrow: part.value, background: stateColor(part.key) }} />
      ))}
    </span>
  );
}
