/** One file: what it is, a look into it, and ways to take it along. */
import { Button } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { Download, Link2 } from "lucide-react";
import { useState } from "react";
import { get, post, url } from "@/api/client";
import { problemOf } from "@/api/errors";
import type { ArtifactLink, ArtifactRow } from "@/api/types";
import { CommandBlock } from "@/common/copy";
import { Failure, Loading, Warning } from "@/common/notices";
import { Facts } from "@/common/Page";
import { Ago } from "@/common/time";
import { bytes } from "@/format/numbers";
import { clock } from "@/format/times";
import css from "./artifacts.module.css";

export function Preview({ experiment, artifact }: { experiment: string; artifact: ArtifactRow }) {
  const place = { name: experiment, id: artifact.id };
  return (
    <section className={css.preview} aria-label={`File ${artifact.path}`}>
      <h2 className="mono">{artifact.path}</h2>
      <Facts
        facts={[
          ["Size", bytes(artifact.size)],
          ["Written", <Ago at={artifact.modified_at} />],
          ["SHA-256", <code className="mono">{artifact.sha256}</code>],
          ["Stored at", <code className="mono">{artifact.stored_at}</code>],
        ]}
      />
      <div className={css.buttons}>
        <Button component="a" leftSection={<Download size={14} />} href={url("experiments/{name}/artifacts/{id}/content", { path: place })} download>
          Download
        </Button>
        <Share place={place} />
      </div>
      <Content artifact={artifact} place={place} />
    </section>
  );
}

/** The parts of a file's address. */
interface Place {
  name: string;
  id: string;
}

function Content({ artifact, place }: { artifact: ArtifactRow; place: Place }) {
  const preview = useQuery({ queryKey: ["preview", place, artifact.version], queryFn: () => get("experiments/{name}/artifacts/{id}/preview", { path: place }), staleTime: Infinity });
  if (preview.error) return <Failure error={preview.error} />;
  if (preview.data === undefined) return <Loading what="a preview" />;
  const { kind, text, truncated, reason } = preview.data;
  if (kind === "image") return <img className={css.image} src={url("experiments/{name}/artifacts/{id}/image", { path: place })} alt={artifact.path} />;
  if (text == null) return <p className="soft">{reason || "There is no preview of this kind of file."}</p>;
  return (
    <>
      <pre className={css.text} tabIndex={0} aria-label="Content">
        {text}
      </pre>
      {truncated && <p className="soft">The beginning only: download it to see the rest.</p>}
    </>
  );
}

/** A link that downloads without signing in, for an hour. */
function Share({ place }: { place: Place }) {
  const [made, setMade] = useState<ArtifactLink | null>(null);
  const [problem, setProblem] = useState<string | null>(null);
  const make = () =>
    post("experiments/{name}/artifacts/{id}/links", { path: place, body: { valid_s: 3600 } }).then(setMade, (error: unknown) => setProblem(problemOf(error).message));
  if (problem) return <Warning>{problem}</Warning>;
  if (made === null) {
    return (
      <Button variant="default" leftSection={<Link2 size={14} />} onClick={() => void make()}>
        Link for an hour
      </Button>
    );
  }
  return (
    <div className={css.link}>
      <CommandBlock command={made.url} label="Copy link" />
      <span className="soft">Works without signing in until {clock(made.expires_at).slice(0, 5)}.</span>
    </div>
  );
}
