import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { get, path } from "@/api/client";
import { useLive } from "@/api/live";
import type { ExperimentDocument } from "@/api/types";

/** One experiment, as it changes. */
export function useExperiment(name: string): UseQueryResult<ExperimentDocument> {
  const client = useQueryClient();
  const key = ["experiment", name];
  const experiment = useQuery({ queryKey: key, queryFn: () => get<ExperimentDocument>(path("experiments", name)) });
  const look = () => void client.invalidateQueries({ queryKey: key });
  useLive(`experiment:${name}`, look, look);
  return experiment;
}
