/** Which scalars a run or an experiment has. */
import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { get, path } from "@/api/client";
import { useLive } from "@/api/live";
import type { ExperimentTags, RunTags } from "@/api/types";

export const useRunTags = (run: string) => useTags<RunTags>("runs", run);
export const useExperimentTags = (experiment: string) => useTags<ExperimentTags>("experiments", experiment);

function useTags<Tags>(kind: "runs" | "experiments", name: string): UseQueryResult<Tags> {
  const client = useQueryClient();
  const key = ["tags", kind, name];
  const tags = useQuery({ queryKey: key, queryFn: () => get<Tags>(path(kind, name, "scalars")) });
  const look = () => void client.invalidateQueries({ queryKey: key }, { cancelRefetch: false });
  useLive(`scalars:${name}`, look, look);
  return tags;
}
