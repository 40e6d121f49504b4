/** Whether the server is there: a banner while it is not, everything anew when it is back. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef } from "react";
import { useConnection } from "@/api/live";
import { stream } from "@/api/stream";
import css from "./Shell.module.css";

export function ConnectionBanner() {
  if (useConnection() !== "lost") return null;
  return (
    <div className={css.banner} role="alert">
      <strong>The server does not answer.</strong> Trainings go on without it. This page is as it was, and goes on by itself
      when the server is back: <code className="mono">grid server status</code> says where it is.
    </div>
  );
}

/** Fetch what is shown anew after the server was away, and hold no connection while the tab is hidden. */
export function useRecovery(): void {
  const client = useQueryClient();
  const connection = useConnection();
  const wasLost = useRef(false);
  useEffect(() => {
    if (connection === "lost") wasLost.current = true;
    if (connection === "open" && wasLost.current) {
      wasLost.current = false;
      void client.invalidateQueries();
    }
  }, [client, connection]);
  useEffect(() => {
    const look = () => stream.setHidden(document.hidden);
    document.addEventListener("visibilitychange", look);
    look();
    return () => document.removeEventListener("visibilitychange", look);
  }, []);
}
