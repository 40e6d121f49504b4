/** What an experiment's nodes wrote: a tree by node and folder, with a preview beside it. */
import { Button } from "@mantine/core";
import { Download, File, Folder } from "lucide-react";
import { get, url } from "@/api/client";
import { useLiveQuery } from "@/api/live";
import { useSearchParams, withValues } from "@/common/address";
import { Empty, Failure, Loading } from "@/common/notices";
import { bytes, plural } from "@/format/numbers";
import { Ago } from "@/common/time";
import css from "./artifacts.module.css";
import { Preview } from "./Preview";

const MOST = 500;

export default function ArtifactsTab({ experiment }: { experiment: string }) {
  const [params, setParams] = useSearchParams();
  const node = params.get("node");
  const folder = params.get("path") ?? "";
  const file = params.get("file");
  const place = { node: node === null ? null : Number(node), path: folder };
  const page = useLiveQuery(`artifacts:${experiment}`, ["artifacts", experiment, node, folder], () =>
    get("experiments/{name}/artifact-folder", { path: { name: experiment }, query: { ...place, limit: MOST } }),
  );
  const go = (change: Record<string, string | null>) => setParams((now) => withValues(now, change));
  if (page.error && !page.data) return <Failure error={page.error} retry={() => void page.refetch()} />;
  if (page.data === undefined) return <Loading what="artifacts" />;
  const { folders, files, total } = page.data;
  if (node === null && folders.length === 0 && files.length === 0) {
    return <Empty title="No artifacts yet.">Every new file that the script writes appears here while it runs: checkpoints, logs, configurations.</Empty>;
  }
  const chosen = files.find((each) => each.id === file);
  return (
    <div className={css.artifacts}>
      <div className={css.bar}>
        <Crumbs node={node} folder={folder} go={go} />
        <Button
          component="a"
          variant="default"
          leftSection={<Download size={14} />}
          href={url("experiments/{name}/artifacts.zip", { path: { name: experiment }, query: place })}
          download
        >
          {node === null ? "Download all" : "Download folder"}
        </Button>
      </div>
      <div className={css.split}>
        <ul className={css.list} aria-label="Files">
          {folders.map((each) => (
            <li key={each.name}>
              <button
                type="button"
                onClick={() => go(node === null ? { node: nodeNumber(each.name) } : { path: folder ? `${folder}/${each.name}` : each.name, file: null })}
              >
                <Folder size={15} />
                <span className="ellipsis">{node === null ? `Node ${nodeNumber(each.name)}` : each.name}</span>
                <span className="soft num">{plural(each.files, "file")}</span>
                <span className="soft num">{bytes(each.size)}</span>
              </button>
            </li>
          ))}
          {files.map((each) => (
            <li key={each.id} data-current={each.id === file || undefined}>
              <button type="button" onClick={() => go({ file: each.id })} aria-current={each.id === file || undefined}>
                <File size={15} />
                <span className="ellipsis mono">{each.path.slice(each.path.lastIndexOf("/") + 1)}</span>
                <span className="soft">
                  <Ago at={each.modified_at} />
                </span>
                <span className="soft num">{bytes(each.size)}</span>
              </button>
            </li>
          ))}
          {total > folders.length + files.length && (
            <li className={css.more}>The first {MOST} of {plural(total, "entry", "entries")}; the zip file has all of them.</li>
          )}
        </ul>
        {chosen && <Preview key={chosen.id} experiment={experiment} artifact={chosen} />}
      </div>
    </div>
  );
}

function nodeNumber(name: string): string {
  return name.replace(/\D+/g, "");
}

function Crumbs({ node, folder, go }: { node: string | null; folder: string; go: (change: Record<string, string | null>) => void }) {
  const parts = folder === "" ? [] : folder.split("/");
  const crumbs = [
    { label: "All nodes", to: { node: null, path: null, file: null } },
    ...(node === null ? [] : [{ label: `Node ${node}`, to: { path: null, file: null } }]),
    ...parts.map((label, index) => ({ label, to: { path: parts.slice(0, index + 1).join("/"), file: null } })),
  ];
  return (
    <nav className={css.crumbs} aria-label="Folder">
      {crumbs.map((crumb, index) => (
        <span key={index}>
          {index > 0 && <span className="soft"> / </span>}
          {index === crumbs.length - 1 ? (
            <strong>{crumb.label}</strong>
          ) : (
            <button type="button" onClick={() => go(crumb.to as Record<string, string | null>)}>
              {crumb.label}
            </button>
          )}
        </span>
      ))}
    </nav>
  );
}
