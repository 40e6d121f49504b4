/** Asking before what cannot be taken back. */
import { Button, Group, Modal } from "@mantine/core";
import { useState, type ReactNode } from "react";
import { Failure } from "./notices";

interface Question {
  title: string;
  text: ReactNode;
  action: string;
  isDangerous?: boolean;
  act: () => Promise<unknown>;
}

/** Return a function that asks, and the dialog to be placed somewhere on the page. */
export function useConfirm(): [(question: Question) => void, ReactNode] {
  const [question, setQuestion] = useState<Question | null>(null);
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const close = () => {
    setQuestion(null);
    setError(null);
  };
  const act = async () => {
    setBusy(true);
    try {
      await question?.act();
      close();
    } catch (failure) {
      setError(failure);
    } finally {
      setBusy(false);
    }
  };
  const dialog = (
    <Modal opened={question !== null} onClose={close} title={question?.title} centered size="md" closeButtonProps={{ "aria-label": "Close" }}>
      <div style={{ lineHeight: 1.55 }}>{question?.text}</div>
      {error !== null && <Failure error={error} />}
      <Group justify="flex-end" gap="xs" mt="lg">
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button color={question?.isDangerous ? "red.8" : undefined} loading={isBusy} onClick={() => void act()} data-autofocus>
          {question?.action}
        </Button>
      </Group>
    </Modal>
  );
  return [setQuestion, dialog];
}
