/** Who is signed in; pages are shown to nobody else. */
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { createContext, useContext, useEffect, type ReactNode } from "react";
import { get } from "@/api/client";
import { isSignedOut } from "@/api/errors";
import { useConnection } from "@/api/live";
import type { Session } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { Failure, Loading } from "@/common/notices";
import css from "./session.module.css";

const Context = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(Context);
  if (session === null) throw new Error("nobody is signed in");
  return session;
}

export function SessionGate({ children }: { children: ReactNode }) {
  const client = useQueryClient();
  const connection = useConnection();
  const session = useQuery({ queryKey: ["session"], queryFn: () => get("session"), staleTime: Infinity });
  useEffect(() => {
    if (connection === "signed-out") void client.invalidateQueries({ queryKey: ["session"] });
  }, [client, connection]);
  if (isSignedOut(session.error)) return <SignedOut />;
  if (session.data) return <Context.Provider value={session.data}>{children}</Context.Provider>;
  if (session.error) return <Failure error={session.error} retry={() => void session.refetch()} />;
  return <Loading what="OpenGrid" />;
}

/** How to get in: the command line makes the links. */
export function SignedOut({ reason }: { reason?: string }) {
  return (
    <main className={css.front}>
      <div className={css.card}>
        <h1>Sign in to OpenGrid</h1>
        <p>{reason ?? "You are not signed in, or your session has ended."} In a terminal, type:</p>
        <CommandBlock command="grid view" />
        <p className="soft">It opens this page with a link that signs you in once. No password is needed.</p>
      </div>
    </main>
  );
}
