import { get } from "@/api/client";
import { useLiveQuery } from "@/api/live";

/** How much an experiment uses of its machines now, as it is measured. */
export function useSystem(name: string) {
  return useLiveQuery(`system:${name}`, ["system", name], () => get("experiments/{name}/system", { path: { name } }));
}
