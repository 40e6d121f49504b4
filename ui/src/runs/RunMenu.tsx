/** What one can do with one run: a button, and the menu once somebody wants it. A list of runs has many of them. */
import { Suspense, useState, type ComponentProps } from "react";
import type { RunRow } from "@/api/types";
import { lazyPart } from "@/common/lazyPart";
import css from "./runs.module.css";

const RunActions = lazyPart(() => import("./RunActions"));

export interface RunMenuProps {
  run: RunRow;
  onDeleted?: () => void;
}

export function RunMenu(props: RunMenuProps) {
  const [isWanted, setWanted] = useState(false);
  const button = <RunMenuButton run={props.run} aria-haspopup="menu" aria-expanded={false} onClick={() => setWanted(true)} />;
  if (!isWanted) return button;
  return (
    <Suspense fallback={button}>
      <RunActions {...props} />
    </Suspense>
  );
}

export function RunMenuButton({ run, ...rest }: { run: RunRow } & ComponentProps<"button">) {
  return <button type="button" {...rest} className={css.menu} aria-label={`Actions of ${run.run}`} />;
}
