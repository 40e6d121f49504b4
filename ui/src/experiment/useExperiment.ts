import { get } from "@/api/client";
import { useLiveQuery } from "@/api/live";

/** One experiment, as it changes. */
export function useExperiment(name: string) {
  return useLiveQuery(`experiment:${name}`, ["experiment", name], () => get("experiments/{name}", { path: { name } }));
}
