/** The frame of every page: what it shows, what one can do with it, and the rest. */
import { useEffect, type ReactNode } from "react";
import css from "./Page.module.css";

interface PageProps {
  title: string;
  /** In place of the title, where it is more than a text. */
  heading?: ReactNode;
  above?: ReactNode;
  actions?: ReactNode;
  children: ReactNode;
}

export function Page({ title, heading, above, actions, children }: PageProps) {
  useEffect(() => {
    document.title = `${title} · OpenGrid`;
  }, [title]);
  return (
    <div className={css.page}>
      <header className={css.header}>
        <div className={css.title}>
          {above && <div className={css.above}>{above}</div>}
          {heading ?? <h1>{title}</h1>}
        </div>
        {actions && <div className={css.actions}>{actions}</div>}
      </header>
      {children}
    </div>
  );
}

export function Card({ title, aside, children }: { title?: ReactNode; aside?: ReactNode; children: ReactNode }) {
  return (
    <section className={css.card}>
      {(title || aside) && (
        <div className={css.cardHead}>
          {title && <h2>{title}</h2>}
          {aside}
        </div>
      )}
      {children}
    </section>
  );
}

/** Names and values in two columns. */
export function Facts({ facts }: { facts: [string, ReactNode][] }) {
  return (
    <dl className={css.facts}>
      {facts.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
