/** React's side of the stream. */
import { useEffect, useRef, useSyncExternalStore } from "react";
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

export function useConnection(): Connection {
  return useSyncExternalStore(
    (watcher) => stream.watch(watcher),
    () => stream.connection,
  );
}
