/** The series of one chart: fetched for what is in view, then only what is new. */
import { keepPreviousData, useQuery, useQueryClient } from "@tanstack/react-query";
import { useRef } from "react";
import { post } from "@/api/client";
import { useLive } from "@/api/live";
import type { SeriesAnswer } from "@/api/types";
import { longest, merge, type XAxis } from "./series";

export interface Viewport {
  min: number;
  max: number;
}

/** Which of the server's series: scalars of scripts, or what agents measure. */
export type SeriesKind = "scalars" | "system";

interface Wanted {
  kind: SeriesKind;
  /** A run or an experiment: whose news to listen to. */
  topic: string;
  experiments: string[];
  tags: string[];
  axis: XAxis;
  viewport: Viewport | null;
  pixels: number;
  enabled: boolean;
}

export function useSeries({ kind, topic, experiments, tags, axis, viewport, pixels, enabled }: Wanted) {
  const client = useQueryClient();
  const busy = useRef(false);
  const key = ["series", kind, topic, experiments, tags, axis, viewport, pixels];
  const request = { experiments, tags, x: axis, min: viewport?.min ?? null, max: viewport?.max ?? null, pixels };
  const series = useQuery({
    queryKey: key,
    queryFn: ({ signal }) => post(kind, { body: request, signal }),
    enabled: enabled && experiments.length > 0,
    placeholderData: keepPreviousData,
    staleTime: Infinity,
  });
  const refetch = () => void client.invalidateQueries({ queryKey: key });
  const news = async () => {
    const known = client.getQueryData<SeriesAnswer>(key);
    if (known === undefined || busy.current) return;
    if (longest(known) > 5 * pixels) return refetch();
    busy.current = true;
    try {
      const answer = await post(kind, { body: { ...request, since: known.cursors } });
      client.setQueryData<SeriesAnswer>(key, (now) => (now === undefined ? now : merge(now, answer)));
    } catch {
      // The next news, or the stream's return, brings what is missing: cursors have not moved.
    } finally {
      busy.current = false;
    }
  };
  useLive(enabled ? `${kind}:${topic}` : null, () => void news(), refetch);
  return series;
}
