import { Button, Tooltip } from "@mantine/core";
import { ChartLine } from "lucide-react";
import { useState } from "react";
import { post } from "@/api/client";
import { problemOf } from "@/api/errors";

/** Open TensorBoard over runs or experiments, in a tab of its own. */
export function TensorBoardButton({ names }: { names: string[] }) {
  const [isStarting, setStarting] = useState(false);
  const [problem, setProblem] = useState<string | null>(null);
  const open = async () => {
    // Opened at the click, or the browser takes it for an unwanted window.
    const tab = window.open("about:blank", "_blank");
    setStarting(true);
    setProblem(null);
    try {
      const { path } = await post("tensorboard", { body: { names } });
      if (tab) tab.location.href = new URL(path, window.location.origin).href;
    } catch (error) {
      tab?.close();
      setProblem(problemOf(error).message);
    } finally {
      setStarting(false);
    }
  };
  return (
    <Tooltip label={problem ?? "Opens in a new tab"}>
      <Button variant="default" leftSection={<ChartLine size={14} />} loading={isStarting} onClick={() => void open()} color={problem ? "red" : undefined}>
        {problem ? "TensorBoard did not start" : "TensorBoard"}
      </Button>
    </Tooltip>
  );
}
