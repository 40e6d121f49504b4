/** Which scalars there are. */
import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { get, path } from "@/api/client";
import { useLive } from "@/api/live";

export interface Tag {
  tag: string;
  goal: "min" | "max";
}

interface Tags {
  tags: Tag[];
  problems?: { node: number; path: string; reason: string }[];
}

export function useTags(kind: "runs" | "experiments", name: string): UseQueryResult<Tags> {
  const client = useQueryClient();
  const key = ["tags", kind, name];
  const tags = useQuery({ queryKey: key, queryFn: () => get<Tags>(path(kind, name, "scalars")) });
  const look = () => void client.invalidateQueries({ queryKey: key }, { cancelRefetch: false });
  useLive(`scalars:${name}`, look, look);
  return tags;
}
