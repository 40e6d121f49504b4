/** Which scalars a run or an experiment has. */
import { get } from "@/api/client";
import { useLiveQuery } from "@/api/live";

export function useRunTags(name: string) {
  return useLiveQuery(`scalars:${name}`, ["tags", "runs", name], () => get("runs/{name}/scalars", { path: { name } }));
}

export function useExperimentTags(name: string) {
  return useLiveQuery(`scalars:${name}`, ["tags", "experiments", name], () => get("experiments/{name}/scalars", { path: { name } }));
}
