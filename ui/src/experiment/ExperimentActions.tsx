/** Clone, stop, resume, delete one experiment. */
import { Button } from "@mantine/core";
import { CopyPlus, Play, Square, Trash2 } from "lucide-react";
import { useState } from "react";
import { useLocation } from "wouter";
import { path } from "@/api/client";
import { problemOf } from "@/api/errors";
import type { ExperimentDocument } from "@/api/types";
import { useConfirm } from "@/common/confirm";
import { isOver } from "@/format/states";
import { destroy, resume, stop } from "@/runs/actions";

export function ExperimentActions({ experiment }: { experiment: ExperimentDocument }) {
  const [, navigate] = useLocation();
  const [ask, dialog] = useConfirm();
  const [problem, setProblem] = useState<string | null>(null);
  const { experiment: name, run, state } = experiment;
  const goOn = () => resume("experiment", [name]).then(
    () => setProblem(null),
    (error: unknown) => setProblem(problemOf(error).message),
  );
  return (
    <>
      {problem && <span role="alert">{problem}</span>}
      <Button variant="default" leftSection={<CopyPlus size={13} />} onClick={() => navigate(`/runs?new=1&clone=${encodeURIComponent(run)}`)}>
        Clone
      </Button>
      {!isOver(state) && (
        <Button
          variant="default"
          leftSection={<Square size={13} />}
          disabled={experiment.stopping}
          onClick={() =>
            ask({
              title: `Stop ${name}?`,
              text: "All ranks get SIGTERM at once, and time to save. What was made is kept.",
              action: "Stop experiment",
              act: () => stop("experiment", [name]),
            })
          }
        >
          Stop
        </Button>
      )}
      {(state === "failed" || state === "stopped") && (
        <Button leftSection={<Play size={13} />} onClick={() => void goOn()}>
          Resume
        </Button>
      )}
      {isOver(state) && (
        <Button
          variant="default"
          leftSection={<Trash2 size={13} />}
          onClick={() =>
            ask({
              title: `Delete ${name}?`,
              text: "Its logs, metrics and artifacts are removed for good.",
              action: "Delete experiment",
              isDangerous: true,
              act: async () => {
                await destroy("experiment", [name]);
                navigate(`/${path("runs", run)}`);
              },
            })
          }
        >
          Delete
        </Button>
      )}
      {dialog}
    </>
  );
}
