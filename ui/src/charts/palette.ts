/** The colour of each experiment, the same in charts and tables. Told apart on white and on black. */
const COLORS = ["#3b82d6", "#d9730d", "#2e9e6b", "#c2410c", "#8b5cf6", "#b8860b", "#0e9aa7", "#d6336c", "#6b7f16", "#7a6ff0", "#a0527a", "#5c7590"];

export function colorOf(index: number): string {
  return COLORS[index % COLORS.length]!;
}

/** What a line is called, and its colour: `exp3` of a scalar, `rank 3` of what was measured of it. */
export function nameOf({ experiment, tag }: { experiment: string; tag: string }): { label: string; color: string } {
  const [, subject, number] = /^(rank|gpu|machine)\/(\d+)\/[a-z]+$/.exec(tag) ?? [];
  const index = number === undefined ? indexOf(experiment) : Number(number);
  return { label: subject === undefined ? `exp${index}` : `${subject === "gpu" ? "GPU" : subject} ${index}`, color: colorOf(index) };
}

/** The number at the end of `<run>-exp<N>`. */
export function indexOf(experiment: string): number {
  return Number(/-exp(\d+)$/.exec(experiment)?.[1] ?? 0);
}
