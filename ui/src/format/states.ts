/** States in the UI's words, and the colour that each has everywhere. */

const LABELS: Record<string, string> = { succeeded: "Completed" };

/** `Queued`, `Running`, `Completed` … */
export function stateLabel(state: string): string {
  return LABELS[state] ?? state.charAt(0).toUpperCase() + state.slice(1);
}

/** The CSS variable of a state's colour (styles.css). */
export function stateColor(state: string): string {
  return `var(--state-${state === "completed" ? "succeeded" : state})`;
}

export function isOver(state: string): boolean {
  return state === "succeeded" || state === "failed" || state === "stopped";
}
