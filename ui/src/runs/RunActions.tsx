/** The menu of a run, open; what it does asks first. */
import { Menu } from "@mantine/core";
import { CopyPlus, Play, Square, Trash2 } from "lucide-react";
import { useRef } from "react";
import { useNewRun } from "@/common/address";
import { useConfirm } from "@/common/confirm";
import { destroy, resume, stop } from "./actions";
import { RunMenuButton, type RunMenuProps } from "./RunMenu";

export default function RunActions({ run, onDeleted }: RunMenuProps) {
  const openNewRun = useNewRun();
  const button = useRef<HTMLButtonElement>(null);
  const [ask, dialog] = useConfirm();
  const isActive = run.running + run.queued > 0;
  const askStop = () =>
    ask({
      title: `Stop ${run.run}?`,
      text: "All ranks get SIGTERM at once, and time to save. What was made is kept.",
      action: "Stop run",
      act: () => stop("run", [run.run]),
    });
  const askResume = () =>
    ask({
      title: `Resume ${run.run}?`,
      text: "Its failed and stopped experiments go on from their newest checkpoints; what has none begins anew.",
      action: "Resume run",
      act: () => resume("run", [run.run]),
    });
  const askDelete = () =>
    ask({
      title: `Delete ${run.run}?`,
      text: "Its experiments, logs, metrics and artifacts are removed for good.",
      action: "Delete run",
      isDangerous: true,
      act: async () => {
        await destroy("run", [run.run]);
        onDeleted?.();
      },
    });
  return (
    <>
      <Menu position="bottom-end" width={190} defaultOpened onClose={() => button.current?.focus()}>
        <Menu.Target>
          <RunMenuButton run={run} ref={button} />
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<CopyPlus size={14} />} onClick={() => openNewRun(run.run)}>
            Clone…
          </Menu.Item>
          <Menu.Item leftSection={<Square size={14} />} disabled={!isActive} onClick={askStop}>
            Stop…
          </Menu.Item>
          <Menu.Item
            leftSection={<Play size={14} />}
            disabled={run.failed + run.stopped === 0}
            onClick={askResume}
          >
            Resume…
          </Menu.Item>
          <Menu.Item leftSection={<Trash2 size={14} />} color="red.8" disabled={isActive} onClick={askDelete}>
            Delete…
          </Menu.Item>
        </Menu.Dropdown>
      </Menu>
      {dialog}
    </>
  );
}
