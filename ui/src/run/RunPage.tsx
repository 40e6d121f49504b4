/** One run: its metrics, its experiments, what it made. */
import { Button, Tabs } from "@mantine/core";
import { CopyPlus } from "lucide-react";
import { Suspense } from "react";
import { useLocation } from "wouter";
import { isMissing } from "@/api/errors";
import type { RunSummary } from "@/api/types";
import { useNewRun } from "@/common/address";
import { CopyButton } from "@/common/copy";
import { lazyPart } from "@/common/lazyPart";
import { Empty, Failure, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { runState, SimulatedBadge, StateBadge } from "@/common/states";
import { useTab } from "@/common/tabs";
import { RunMenu } from "@/runs/RunMenu";
import { RunDetails } from "./RunDetails";
import css from "./run.module.css";
import { RunStrip } from "./RunStrip";
import { TensorBoardButton } from "./TensorBoardButton";
import { useRun } from "./useRun";

const Experiments = lazyPart(() => import("./Experiments"));
const RunArtifacts = lazyPart(() => import("./RunArtifacts"));

const TABS = ["experiments", "artifacts", "details"] as const;

export default function RunPage({ name }: { name: string }) {
  const run = useRun(name);
  if (isMissing(run.error)) {
    return (
      <Page title={name}>
        <Empty title={`There is no run ${name}.`}>It may have been deleted. All runs are in the list on the left.</Empty>
      </Page>
    );
  }
  if (run.error && !run.data) {
    return (
      <Page title={name}>
        <Failure error={run.error} retry={() => void run.refetch()} />
      </Page>
    );
  }
  return run.data ? <Loaded run={run.data} /> : <Loading what={name} />;
}

function Loaded({ run }: { run: RunSummary }) {
  const [tab, setTab] = useTab(TABS);
  const [, navigate] = useLocation();
  const openNewRun = useNewRun();
  return (
    <Page
      title={run.run}
      above={
        <a className="link" href="/runs">
          Runs
        </a>
      }
      heading={
        <div className={css.heading}>
          <h1>{run.run}</h1>
          <CopyButton text={run.run} label="Copy name" />
          <StateBadge state={runState(run)} />
          {run.simulated && <SimulatedBadge />}
        </div>
      }
      actions={
        <>
          <TensorBoardButton names={[run.run]} />
          <Button variant="default" leftSection={<CopyPlus size={13} />} onClick={() => openNewRun(run.run)}>
            Clone
          </Button>
          <RunMenu run={run} onDeleted={() => navigate("/runs")} />
        </>
      }
    >
      {run.description && <p className={css.description}>{run.description}</p>}
      <RunStrip run={run} />
      <Tabs value={tab} onChange={(next) => setTab(next as (typeof TABS)[number])} keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="experiments">Metrics and experiments</Tabs.Tab>
          <Tabs.Tab value="artifacts">Artifacts</Tabs.Tab>
          <Tabs.Tab value="details">Details</Tabs.Tab>
        </Tabs.List>
        <Suspense fallback={<Loading what={tab} />}>
          <Tabs.Panel value="experiments">
            <Experiments run={run} />
          </Tabs.Panel>
          <Tabs.Panel value="artifacts">
            <RunArtifacts run={run} />
          </Tabs.Panel>
          <Tabs.Panel value="details">
            <RunDetails run={run} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </Page>
  );
}
