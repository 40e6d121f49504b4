/** What the dialog asks for: the server's NewRun. */
import type { LinkParts, NewRun } from "@/api/types";

export const EMPTY: NewRun = {
  link: null,
  script: "",
  copy_of: null,
  name: null,
  description: "",
  arguments: "",
  strategy: "grid_search",
  num_trials: null,
  seed: null,
  framework: "lightning",
  cluster: null,
  instance_type: "local",
  gpus: null,
  cpus: null,
  processes_per_node: null,
  simulate: false,
  environment: {},
  use_spot: false,
  auto_resume: false,
  datastore: null,
  datastore_mount_dir: null,
  labels: {},
  python: null,
  parallel: null,
  max_restarts: null,
};

/** The link of edited parts, as the server reads it. */
export function linkOf({ url, ref, path }: Omit<LinkParts, "commit">): string {
  return `${url.trim()}#${ref.trim()}:${path.trim()}`;
}

/** `KEY=VALUE` lines as a map; lines without a name are left out. */
export function parseLines(text: string): Record<string, string> {
  const entries = text
    .split("\n")
    .map((line) => line.trim())
    .filter((line) => line !== "" && !line.startsWith("#") && !line.startsWith("="))
    .map((line): [string, string] => {
      const at = line.indexOf("=");
      return at < 0 ? [line, ""] : [line.slice(0, at).trim(), line.slice(at + 1)];
    });
  return Object.fromEntries(entries);
}

export function toLines(map: Record<string, string>): string {
  return Object.entries(map)
    .map(([key, value]) => `${key}=${value}`)
    .join("\n");
}
