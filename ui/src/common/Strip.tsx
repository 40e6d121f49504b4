/** A row of facts that stay in view above a page's tabs. */
import type { ReactNode } from "react";
import css from "./Strip.module.css";

export function Strip({ children }: { children: ReactNode }) {
  return <dl className={css.strip}>{children}</dl>;
}

export function Fact({ name, note, children }: { name: string; note?: string; children: ReactNode }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd className="num">
        {children}
        {note && <span className={css.note}>{note}</span>}
      </dd>
    </div>
  );
}
