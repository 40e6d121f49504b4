/** The question itself, and what came of acting. */
import { Button, Group, Modal } from "@mantine/core";
import { useState } from "react";
import type { Question } from "./confirm";
import { Failure } from "./notices";

export default function ConfirmDialog({ question, close }: { question: Question; close: () => void }) {
  const [isBusy, setBusy] = useState(false);
  const [error, setError] = useState<unknown>(null);
  const act = async () => {
    setBusy(true);
    try {
      await question.act();
      close();
    } catch (failure) {
      setError(failure);
      setBusy(false);
    }
  };
  return (
    <Modal opened onClose={close} title={question.title} centered size="md" closeButtonProps={{ "aria-label": "Close" }}>
      <div style={{ lineHeight: 1.55 }}>{question.text}</div>
      {error !== null && <Failure error={error} />}
      <Group justify="flex-end" gap="xs" mt="lg">
        <Button variant="default" onClick={close}>
          Cancel
        </Button>
        <Button color={question.isDangerous ? "red.8" : undefined} loading={isBusy} onClick={() => void act()} data-autofocus>
          {question.action}
        </Button>
      </Group>
    </Modal>
  );
}
