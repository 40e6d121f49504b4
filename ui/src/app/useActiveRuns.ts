import { get } from "@/api/client";
import { useLiveQuery } from "@/api/live";

/** How many runs are active, as it changes. */
export function useActiveRuns(): number {
  const runs = useLiveQuery("runs", ["active-runs"], () => get("runs", { query: { active: true, limit: 1 } }));
  return runs.data?.total ?? 0;
}
