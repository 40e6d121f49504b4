/** The New run sheet's fields in the address: a link can open it with everything filled in. */
import type { NewRun } from "@/api/types";
import { EMPTY } from "./fields";

/** Fields that an address may carry, by NewRun's own names. */
export const FIELDS = Object.keys(EMPTY);

const NUMBERS = new Set(["gpus", "cpus", "num_trials", "seed", "processes_per_node", "parallel", "max_restarts"]);
const SWITCHES = new Set(["simulate", "use_spot", "auto_resume"]);
const MAPS = new Set(["environment", "labels"]);

/** Variables may hold secrets: a link may bring them, but what is typed does not go into the address. */
const UNSAID = "environment";

/** Write into an address how a form differs from what it began with. */
export function toAddress(form: NewRun, base: NewRun, search: URLSearchParams): URLSearchParams {
  for (const name of FIELDS as (keyof NewRun)[]) {
    if (name === UNSAID) continue;
    search.delete(name);
    const value = form[name];
    if (JSON.stringify(value) === JSON.stringify(base[name])) continue;
    if (typeof value === "boolean") search.set(name, value ? "1" : "0");
    else if (value === null || typeof value !== "object") search.set(name, String(value ?? ""));
    else for (const pair of Object.entries(value)) search.append(name, pair.join("="));
  }
  return search;
}

/** Read what an address says; unknown names and what is no number are left out. */
export function fromAddress(search: URLSearchParams): Partial<NewRun> {
  const fields: Record<string, unknown> = {};
  for (const name of FIELDS) {
    const values = search.getAll(name);
    const value = values.at(-1);
    if (value === undefined) continue;
    if (value === "") fields[name] = EMPTY[name as keyof NewRun];
    else if (NUMBERS.has(name)) {
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
