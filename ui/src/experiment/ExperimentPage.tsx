/** Experiment details: what was used, what happened, what came out. */
import { Tabs } from "@mantine/core";
import { Suspense } from "react";
import { isMissing } from "@/api/errors";
import type { ExperimentDocument } from "@/api/types";
import { CopyButton } from "@/common/copy";
import { lazyPart } from "@/common/lazyPart";
import { Empty, Failure, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { SimulatedBadge, StateBadge } from "@/common/states";
import { useTab } from "@/common/tabs";
import { runPage } from "@/format/places";
import { BuildLog } from "./BuildLog";
import { ExperimentActions } from "./ExperimentActions";
import css from "./experiment.module.css";
import { Overview } from "./Overview";
import { Parameters } from "./Parameters";
import { RootCauseCard } from "./RootCauseCard";
import { ExperimentStrip } from "./ExperimentStrip";
import { useExperiment } from "./useExperiment";

const Logs = lazyPart(() => import("@/logs/LogsTab"));
const Artifacts = lazyPart(() => import("@/artifacts/ArtifactsTab"));
const Metrics = lazyPart(() => import("./Metrics"));
const System = lazyPart(() => import("./System"));

const TABS = ["overview", "parameters", "metrics", "logs", "build", "artifacts", "system"] as const;
type Tab = (typeof TABS)[number];

const LABELS: Record<Tab, string> = {
  overview: "Overview",
  parameters: "Parameters",
  metrics: "Metrics",
  logs: "Logs",
  build: "Build logs",
  artifacts: "Artifacts",
  system: "System",
};

export default function ExperimentPage({ name }: { name: string }) {
  const experiment = useExperiment(name);
  if (isMissing(experiment.error)) return <Missing name={name} />;
  if (experiment.error && !experiment.data) {
    return (
      <Page title={name}>
        <Failure error={experiment.error} retry={() => void experiment.refetch()} />
      </Page>
    );
  }
  return experiment.data ? <Details experiment={experiment.data} /> : <Loading what={name} />;
}

function Missing({ name }: { name: string }) {
  return (
    <Page title={name}>
      <Empty title={`There is no experiment ${name}.`}>It may have been deleted with its run.</Empty>
    </Page>
  );
}

function Details({ experiment }: { experiment: ExperimentDocument }) {
  const [tab, setTab] = useTab(TABS);
  return (
    <Page
      title={experiment.experiment}
      above={
        <>
          <a className="link" href="/runs">
            Runs
          </a>
          {" / "}
          <a className="link" href={runPage(experiment.run)}>
            {experiment.run}
          </a>
        </>
      }
      heading={
        <div className={css.heading}>
          <h1>{experiment.experiment}</h1>
          <CopyButton text={experiment.experiment} label="Copy name" />
          <StateBadge state={experiment.state} stopping={experiment.stopping} />
          {experiment.simulated && <SimulatedBadge />}
        </div>
      }
      actions={<ExperimentActions experiment={experiment} />}
    >
      <Why experiment={experiment} isBrief={tab !== "overview"} />
      <ExperimentStrip experiment={experiment} />
      <Tabs value={tab} onChange={(next) => setTab(next as Tab)} keepMounted={false}>
        <Tabs.List mb="md">
          {TABS.map((each) => (
            <Tabs.Tab key={each} value={each}>
              {LABELS[each]}
            </Tabs.Tab>
          ))}
        </Tabs.List>
        <Suspense fallback={<Loading what={LABELS[tab].toLowerCase()} />}>
          <Tabs.Panel value="overview">
            <Overview experiment={experiment} />
          </Tabs.Panel>
          <Tabs.Panel value="parameters">
            <Parameters experiment={experiment} />
          </Tabs.Panel>
          <Tabs.Panel value="metrics">
            <Metrics experiment={experiment} />
          </Tabs.Panel>
          <Tabs.Panel value="logs">
            <Logs experiment={experiment} />
          </Tabs.Panel>
          <Tabs.Panel value="build">
            <BuildLog experiment={experiment} />
          </Tabs.Panel>
          <Tabs.Panel value="artifacts">
            <Artifacts experiment={experiment.experiment} />
          </Tabs.Panel>
          <Tabs.Panel value="system">
            <System experiment={experiment} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </Page>
  );
}

/** Why it failed, or why it waits: the first thing that one wants to know. */
function Why({ experiment, isBrief }: { experiment: ExperimentDocument; isBrief: boolean }) {
  if (experiment.root_cause) return <RootCauseCard experiment={experiment} cause={experiment.root_cause} isBrief={isBrief} />;
  if (!experiment.reason || experiment.state === "succeeded" || experiment.state === "running") return null;
  return <div className={css.reason}>{experiment.reason}</div>;
}
