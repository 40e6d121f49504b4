/** The menu of a run, open; what it does asks first. */
import { Menu } from "@mantine/core";
import { CopyPlus, Play, Square, Trash2 } from "lucide-react";
import { useLocation } from "wouter";
import { useConfirm } from "@/common/confirm";
import { destroy, resume, stop } from "./actions";
import { RunMenuButton, type RunMenuProps } from "./RunMenu";

export default function RunActions({ run, onDeleted }: RunMenuProps) {
  const [, navigate] = useLocation();
  const [ask, dialog] = useConfirm();
  const isActive = run.running + run.queued > 0;
  const askStop = () =>
    ask({
      title: `Stop ${run.run}?`,
      text: "All ranks get SIGTERM at once, and time to save. What was made is kept.",
      action: "Stop run",
      act: () => stop("run", [run.run]),
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
      <Menu position="bottom-end" width={190} defaultOpened>
        <Menu.Target>
          <RunMenuButton run={run} />
        </Menu.Target>
        <Menu.Dropdown>
          <Menu.Item leftSection={<CopyPlus size={14} />} onClick={() => navigate(`/runs?new=1&clone=${encodeURIComponent(run.run)}`)}>
            Clone…
          </Menu.Item>
          <Menu.Item leftSection={<Square size={14} />} disabled={!isActive} onClick={askStop}>
            Stop…
          </Menu.Item>
          <Menu.Item
            leftSection={<Play size={14} />}
            disabled={run.failed + run.stopped === 0}
            onClick={() => void resume("run", [run.run])}
          >
            Resume failed and stopped
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
