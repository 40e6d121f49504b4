/** The addresses of pages, for links. */

export function runPage(run: string): string {
  return `/runs/${encodeURIComponent(run)}`;
}

export function experimentPage(experiment: string): string {
  return `/experiments/${encodeURIComponent(experiment)}`;
}

/** The logs of one rank, or of all. */
export function logsPage(experiment: string, rank: number | null): string {
  return `${experimentPage(experiment)}?tab=logs${rank === null ? "" : `&rank=${rank}`}`;
}

export function datastorePage(name: string, version: number): string {
  return `/datastores/${encodeURIComponent(name)}?version=${version}`;
}
