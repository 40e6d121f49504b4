/** Where every rank runs, and what happened when. */
import type { ExperimentDocument } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { Card } from "@/common/Page";
import { day } from "@/format/times";
import css from "./experiment.module.css";
import { RankGrid } from "./RankGrid";
import { Timeline } from "./Timeline";
import { readUse } from "./use";
import { useSystem } from "./useSystem";

export function Overview({ experiment }: { experiment: ExperimentDocument }) {
  const use = readUse(useSystem(experiment.experiment).data);
  return (
    <div className={css.overview}>
      <div className={css.stack}>
        <Card title="Ranks" aside={<Layout experiment={experiment} />}>
          <RankGrid experiment={experiment.experiment} placement={experiment.placement} use={use} cause={experiment.root_cause?.rank ?? null} />
        </Card>
        <Card title="Command">
          <CommandBlock command={experiment.command} />
        </Card>
      </div>
      <Card title="Timeline" aside={<span className="soft">{day(experiment.created_at)}</span>}>
        <Timeline events={experiment.events} starts={experiment.starts} />
      </Card>
    </div>
  );
}

function Layout({ experiment }: { experiment: ExperimentDocument }) {
  return <span className="soft">{experiment.plan.reason}</span>;
}
