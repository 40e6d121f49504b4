/** What ran with what: the script and its version, every argument, the environment. */
import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { useState } from "react";
import { getText } from "@/api/client";
import type { ExperimentDocument, ScriptArgument } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { Failure, Loading } from "@/common/notices";
import { Card, Facts } from "@/common/Page";
import { plural } from "@/format/numbers";
import css from "./experiment.module.css";

export function Parameters({ experiment }: { experiment: ExperimentDocument }) {
  return (
    <div className={css.stack}>
      <Card title="Script">
        <Script experiment={experiment} />
      </Card>
      <Card title="Arguments">
        <Arguments rows={experiment.arguments} />
      </Card>
      {experiment.environment.length > 0 && (
        <Card title="Environment variables">
          <span className="mono">{experiment.environment.join(", ")}</span>
        </Card>
      )}
      <Card title="Command">
        <CommandBlock command={experiment.command} />
      </Card>
    </div>
  );
}

function Script({ experiment }: { experiment: ExperimentDocument }) {
  const { source, source_page, script, framework } = experiment;
  const [isShown, show] = useState(false);
  return (
    <div className={css.stack}>
      <Facts
        facts={[
          ["Script", <code className="mono">{script}</code>],
          ["Code", source_page ? <Outside to={source_page}>{source.line}</Outside> : source.line],
          ["Commit", source.commit ? <code className="mono">{source.commit}</code> : "none"],
          ["Framework", framework],
        ]}
      />
      {source.patch !== null && (
        <div>
          <Button variant="default" onClick={() => show(!isShown)} aria-expanded={isShown}>
            {isShown ? "Hide" : "Show"} what differed from the commit ({plural(source.modified, "file")})
          </Button>
        </div>
      )}
      {isShown && <Diff experiment={experiment.experiment} />}
    </div>
  );
}

/** A link to the script's own host: the one way out of the page, and only by a click. */
function Outside({ to, children }: { to: string; children: string }) {
  return (
    <a className="link" href={to} rel="noreferrer" target="_blank">
      {children}
    </a>
  );
}

function Diff({ experiment }: { experiment: string }) {
  const diff = useQuery({ queryKey: ["diff", experiment], queryFn: () => getText("experiments/{name}/diff", { path: { name: experiment } }), staleTime: Infinity });
  if (diff.error) return <Failure error={diff.error} />;
  if (diff.data === undefined) return <Loading what="the difference" />;
  return (
    <pre className={css.diff} tabIndex={0} aria-label="Difference to the commit">
      {diff.data.split("\n").map((line, index) => (
        <span key={index} data-kind={line.startsWith("+") ? "added" : line.startsWith("-") ? "removed" : undefined}>
          {line}
          {"\n"}
        </span>
      ))}
    </pre>
  );
}

function Arguments({ rows }: { rows: ScriptArgument[] }) {
  if (rows.length === 0) return <span className="soft">None.</span>;
  return (
    <table className={`${css.plain} ${css.pairs}`}>
      <thead>
        <tr>
          <th>Argument</th>
          <th>Value</th>
        </tr>
      </thead>
      <tbody>
        {rows.map((row, index) => (
          <tr key={index}>
            <td className="mono">{row.name ?? <span className="soft">positional</span>}</td>
            <td className="mono">
              {row.resolved ?? ""}
              {row.typed !== null && row.typed !== row.resolved && <div className="soft">typed as {row.typed}</div>}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}
