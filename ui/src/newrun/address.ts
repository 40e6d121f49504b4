/** The New run sheet's fields in the address: a link can open it with everything filled in. */
import type { NewRun } from "@/api/types";
import { EMPTY } from "./fields";

/** Fields that an address may carry, by NewRun's own names. */
export const FIELDS = Object.keys(EMPTY);

const NUMBERS = new Set(["gpus", "cpus", "num_trials", "seed", "processes_per_node", "parallel", "max_restarts"]);
const SWITCHES = new Set(["simulate", "use_spot", "auto_resume"]);
const MAPS = new Set(["environment", "labels"]);

/** Read what an address says; unknown names and what is no number are left out. */
export function fromAddress(search: URLSearchParams): Partial<NewRun> {
  const fields: Record<string, unknown> = {};
  for (const name of FIELDS) {
    const values = search.getAll(name);
    const value = values.at(-1);
    if (value === undefined) continue;
    if (NUMBERS.has(name)) {
      if (value.trim() !== "" && Number.isFinite(Number(value))) fields[name] = Number(value);
    } else if (SWITCHES.has(name)) fields[name] = value === "1" || value === "true";
    else if (MAPS.has(name)) fields[name] = Object.fromEntries(values.map(pair));
    else fields[name] = value;
  }
  return fields as Partial<NewRun>;
}

function pair(text: string): [string, string] {
  const at = text.indexOf("=");
  return at < 0 ? [text, ""] : [text.slice(0, at), text.slice(at + 1)];
}
