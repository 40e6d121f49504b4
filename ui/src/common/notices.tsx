/** What a page says when there is nothing to show, not yet, or something went wrong. */
import { Button, Loader } from "@mantine/core";
import type { ReactNode } from "react";
import { problemOf } from "@/api/errors";
import css from "./notices.module.css";

export function Loading({ what }: { what: string }) {
  return (
    <div className={css.notice} role="status">
      <Loader size="sm" color="gray" />
      <span className="soft">Loading {what}…</span>
    </div>
  );
}

export function Empty({ title, children, action }: { title: string; children?: ReactNode; action?: ReactNode }) {
  return (
    <div className={css.notice}>
      <strong>{title}</strong>
      {children && <div className={css.text}>{children}</div>}
      {action}
    </div>
  );
}

/** What happened, and what to do. */
export function Failure({ error, retry }: { error: unknown; retry?: () => void }) {
  const problem = problemOf(error);
  return (
    <div className={css.notice} role="alert">
      <strong>{problem.message}</strong>
      {problem.hint && <div className={css.text}>{problem.hint}</div>}
      {retry && (
        <Button variant="default" onClick={retry}>
          Try again
        </Button>
      )}
    </div>
  );
}

/** A problem inside a form or a card. */
export function Warning({ tone = "bad", children }: { tone?: "bad" | "warn" | "good"; children: ReactNode }) {
  return (
    <div className={css.warning} data-tone={tone} role={tone === "bad" ? "alert" : undefined}>
      {children}
    </div>
  );
}
