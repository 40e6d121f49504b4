/** How much an experiment uses of its machines now, as it is measured. */
import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { get, path } from "@/api/client";
import { useLive } from "@/api/live";
import type { System } from "@/api/types";

export function useSystem(experiment: string): UseQueryResult<System> {
  const client = useQueryClient();
  const key = ["system", experiment];
  const system = useQuery({ queryKey: key, queryFn: () => get<System>(path("experiments", experiment, "system")) });
  const look = () => void client.invalidateQueries({ queryKey: key }, { cancelRefetch: false });
  useLive(`system:${experiment}`, look, look);
  return system;
}
