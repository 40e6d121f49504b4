/** Asking before what cannot be taken back. */
import { Suspense, useState, type ReactNode } from "react";
import { lazyPart } from "./lazyPart";

const ConfirmDialog = lazyPart(() => import("./ConfirmDialog"));

export interface Question {
  title: string;
  text: ReactNode;
  action: string;
  isDangerous?: boolean;
  act: () => Promise<unknown>;
}

/** Return a function that asks, and the dialog to be placed somewhere on the page. */
export function useConfirm(): [(question: Question) => void, ReactNode] {
  const [question, setQuestion] = useState<Question | null>(null);
  const dialog = question && (
    <Suspense>
      <ConfirmDialog question={question} close={() => setQuestion(null)} />
    </Suspense>
  );
  return [setQuestion, dialog];
}
