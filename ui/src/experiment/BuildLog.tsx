/** What the making of the environment wrote; nothing, where everything was there. */
import { useQuery } from "@tanstack/react-query";
import { getText } from "@/api/client";
import type { ExperimentDocument } from "@/api/types";
import { Empty, Failure, Loading } from "@/common/notices";
import { plainText } from "@/logs/text";
import css from "./experiment.module.css";

/** Of a longer log the end is shown. */
const MOST = 500_000;

export function BuildLog({ experiment: { experiment, state } }: { experiment: ExperimentDocument }) {
  const isBuilding = ["queued", "building", "pending"].includes(state);
  const log = useQuery({
    queryKey: ["build-logs", experiment, isBuilding],
    queryFn: () => getText("experiments/{name}/build-logs", { path: { name: experiment } }),
    refetchInterval: isBuilding ? 2000 : false,
  });
  if (log.error && log.data === undefined) return <Failure error={log.error} retry={() => void log.refetch()} />;
  if (log.data === undefined) return <Loading what="the build log" />;
  if (log.data === "") {
    return <Empty title="Nothing was built.">Everything that the script needs was there: its environment was used as it is.</Empty>;
  }
  const text = log.data.slice(-MOST).split("\n").map(plainText).join("\n");
  return (
    <pre className={css.diff} tabIndex={0} aria-label="Build log">
      {text}
    </pre>
  );
}
