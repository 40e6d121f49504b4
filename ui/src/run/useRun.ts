import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { get, path } from "@/api/client";
import { useLive } from "@/api/live";
import type { RunSummary } from "@/api/types";

/** One run without its experiments, as it changes. */
export function useRun(name: string): UseQueryResult<RunSummary> {
  const client = useQueryClient();
  const key = ["run", name];
  const run = useQuery({ queryKey: key, queryFn: () => get<RunSummary>(path("runs", name, "summary")) });
  const look = () => void client.invalidateQueries({ queryKey: key }, { cancelRefetch: false });
  useLive(`run:${name}`, look, look);
  return run;
}
