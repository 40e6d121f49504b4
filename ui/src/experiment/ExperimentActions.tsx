/** Clone, stop, resume, delete one experiment. */
import { Button } from "@mantine/core";
import { CopyPlus, Play, Square, Trash2 } from "lucide-react";
import { useState } from "react";
import { useLocation } from "wouter";
import { problemOf } from "@/api/errors";
import type { ExperimentDocument } from "@/api/types";
import { useNewRun } from "@/common/address";
import { useConfirm } from "@/common/confirm";
import { runPage } from "@/format/places";
import { isOver } from "@/format/states";
import { destroy, resume, stop } from "@/runs/actions";

export function ExperimentActions({ experiment }: { experiment: ExperimentDocument }) {
  const [, navigate] = useLocation();
  const openNewRun = useNewRun();
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
      <Button variant="default" leftSection={<CopyPlus size={13} />} onClick={() => openNewRun(run)}>
        Clone
      </Button>
      {!isOver(state) && (
        <Button
          variant="default"
          leftSection={<Square size={13} />}
          onClick={() =>
            ask(
              experiment.stopping
                ? {
                    title: `End ${name} at once?`,
                    text: "Its ranks are stopping, and have time to save until the grace period is over. This takes it from them: what they have not saved is lost.",
                    action: "End at once",
                    isDangerous: true,
                    act: () => stop("experiment", [name], true),
                  }
                : {
                    title: `Stop ${name}?`,
                    text: "All ranks get SIGTERM at once, and time to save. What was made is kept.",
                    action: "Stop experiment",
                    act: () => stop("experiment", [name]),
                  },
            )
          }
        >
          {experiment.stopping ? "End at once" : "Stop"}
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
                navigate(runPage(run));
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
