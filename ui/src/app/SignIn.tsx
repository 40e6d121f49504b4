/** /sign-in#CODE: exchange the one-time code for a session, then go where the link leads. */
import { useQueryClient } from "@tanstack/react-query";
import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";
import { post } from "@/api/client";
import { problemOf } from "@/api/errors";
import { Loading } from "@/common/notices";
import { SignedOut } from "./session";

export function SignIn() {
  const [, navigate] = useLocation();
  const [reason, setReason] = useState<string | null>(null);
  const client = useQueryClient();
  const begun = useRef(false);
  useEffect(() => {
    if (begun.current) return;
    begun.current = true; // the code works once
    const code = window.location.hash.slice(1);
    if (code === "") return setReason("This link has no code.");
    post("sessions", { body: { code } }).then(
      ({ path }) => {
        client.removeQueries({ queryKey: ["session"] });
        // TensorBoard's pages are the server's, not this page's.
        if (path.startsWith("/tensorboard/")) window.location.replace(path);
        else navigate(path, { replace: true });
      },
      (error: unknown) => setReason(problemOf(error).message),
    );
  }, [client, navigate]);
  return reason === null ? <Loading what="your session" /> : <SignedOut reason={`${reason} `} />;
}
