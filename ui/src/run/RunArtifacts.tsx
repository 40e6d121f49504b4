/** The artifacts of a run: of the experiment that is chosen, or all in one zip file. */
import { Button, Select } from "@mantine/core";
import { Download } from "lucide-react";
import { url } from "@/api/client";
import type { RunSummary } from "@/api/types";
import ArtifactsTab from "@/artifacts/ArtifactsTab";
import { useSearchParams } from "@/common/address";
import css from "./run.module.css";

export default function RunArtifacts({ run }: { run: RunSummary }) {
  const [params, setParams] = useSearchParams();
  const index = Math.min(Number(params.get("of") ?? 0), run.experiments - 1);
  const names = Array.from({ length: run.experiments }, (_, position) => `${run.run}-exp${position}`);
  return (
    <div className={css.stack}>
      <div className={css.bar}>
        {names.length > 1 && (
          <Select
            aria-label="Experiment"
            data={names.map((name, position) => ({ value: String(position), label: name }))}
            value={String(index)}
            onChange={(of) => setParams({ tab: "artifacts", ...(of === null || of === "0" ? {} : { of }) })}
            allowDeselect={false}
            searchable
            w={280}
          />
        )}
        {names.length > 1 && (
          <Button component="a" variant="default" leftSection={<Download size={14} />} href={url("runs/{name}/artifacts.zip", { path: { name: run.run } })} download>
            Download all experiments
          </Button>
        )}
      </div>
      <ArtifactsTab key={index} experiment={names[index]!} />
    </div>
  );
}
