import { get } from "@/api/client";
import { useLiveQuery } from "@/api/live";

/** One run without its experiments, as it changes. */
export function useRun(name: string) {
  return useLiveQuery(`run:${name}`, ["run", name], () => get("runs/{name}/summary", { path: { name } }));
}
