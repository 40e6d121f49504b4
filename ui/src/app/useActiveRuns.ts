import { useQuery } from "@tanstack/react-query";
import { get } from "@/api/client";
import { useLive } from "@/api/live";
import type { RunPage } from "@/api/types";

/** How many runs are active, as it changes. */
export function useActiveRuns(): number {
  const runs = useQuery({ queryKey: ["active-runs"], queryFn: () => get<RunPage>("runs", { active: true, limit: 1 }) });
  const look = () => void runs.refetch({ cancelRefetch: false });
  useLive("runs", look, look);
  return runs.data?.total ?? 0;
}
