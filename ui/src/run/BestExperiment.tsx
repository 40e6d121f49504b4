/** Which experiment is best by a chosen metric; the server says which end of it is good. */
import { Select } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Trophy } from "lucide-react";
import { get } from "@/api/client";
import type { RunTags } from "@/api/types";
import { metric, parameter } from "@/format/numbers";
import { experimentPage } from "@/format/places";
import css from "./run.module.css";

interface BestProps {
  run: string;
  tags: RunTags["tags"];
  /** Which metric says it, when none is chosen. */
  usual: string | null;
  chosen: string | null;
  choose: (tag: string | null) => void;
}

export function BestExperiment({ run, tags, usual, chosen, choose }: BestProps) {
  const tag = tags.find((each) => each.tag === chosen) ?? tags.find((each) => each.tag === usual) ?? tags[0]!;
  const order = tag.goal === "max" ? "desc" : "asc";
  const best = useQuery({
    queryKey: ["table", run, "best", tag.tag, order],
    queryFn: async () => {
      const page = await get("runs/{name}/table", { path: { name: run }, query: { sort: `metric:${tag.tag}`, order, limit: 1 } });
      return { rows: page.experiments };
    },
  });
  const row = best.data?.rows[0];
  const value = row?.metrics[tag.tag]?.best;
  return (
    <div className={css.best}>
      <Trophy size={15} />
      <span>Best by</span>
      <Select
        aria-label="Metric that says which is best"
        data={tags.map((each) => each.tag)}
        value={tag.tag}
        onChange={choose}
        allowDeselect={false}
        searchable={tags.length > 8}
        w={200}
      />
      <span className="soft">{tag.goal === "max" ? "highest" : "lowest"}</span>
      {row && value != null && (
        <>
          <strong className="num">{metric(value)}</strong>
          <a className="link" href={experimentPage(row.experiment)}>
            {row.experiment}
          </a>
          <span className="mono soft ellipsis">
            {Object.entries(row.params)
              .map(([name, each]) => `${name}=${parameter(each)}`)
              .join("  ")}
          </span>
        </>
      )}
    </div>
  );
}
