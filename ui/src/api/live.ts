/** React's side of the stream. */
import { useQuery, useQueryClient, type UseQueryResult } from "@tanstack/react-query";
import { useCallback, useEffect, useRef, useSyncExternalStore } from "react";
import { stream, type Connection } from "./stream";

/** Follow a topic while the component is shown; `null` follows nothing. */
export function useLive<T>(topic: string | null, change: (data: T) => void, refetch: () => void): void {
  const calls = useRef({ change, refetch });
  calls.current = { change, refetch };
  useEffect(() => {
    if (topic === null) return;
    return stream.subscribe(topic, {
      change: (data) => calls.current.change(data as T),
      refetch: () => calls.current.refetch(),
    });
  }, [topic]);
}

/** What a route answers, asked for anew whenever its topic has news. */
export function useLiveQuery<T>(topic: string, key: readonly unknown[], ask: () => Promise<T>): UseQueryResult<T> {
  const query = useQuery({ queryKey: key, queryFn: ask });
  const look = useRefetch(key);
  useLive(topic, look, look);
  return query;
}

/** Return what fetches a query anew. News that come meanwhile are asked for right after: the answer may be older than they. */
export function useRefetch(key: readonly unknown[]): () => void {
  const client = useQueryClient();
  const now = useRef({ key, isBusy: false, isAgain: false });
  now.current.key = key;
  return useCallback(() => {
    const look = async () => {
      now.current.isBusy = true;
      do {
        now.current.isAgain = false;
        await client.invalidateQueries({ queryKey: now.current.key });
      } while (now.current.isAgain);
      now.current.isBusy = false;
    };
    if (now.current.isBusy) now.current.isAgain = true;
    else void look();
  }, [client]);
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    (watcher) => stream.watch(watcher),
    () => stream.connection,
  );
}
