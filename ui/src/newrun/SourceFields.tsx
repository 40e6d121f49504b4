/** Which script: a pasted link, and what the server reads from it, to be corrected. */
import { Button, TextInput } from "@mantine/core";
import { GitBranch } from "lucide-react";
import { useEffect, useState } from "react";
import type { LinkParts } from "@/api/types";
import { linkOf } from "./fields";
import css from "./newrun.module.css";
import type { FormPart } from "./NewRunForm";

export function SourceFields({ form, change, problemOf, link }: FormPart & { link: LinkParts | null }) {
  if (form.copy_of !== null) {
    return (
      <div className={css.copyOf}>
        <GitBranch size={15} />
        <span>
          The same code as <strong>{form.copy_of}</strong>
          {form.script && (
            <>
              , <code className="mono">{form.script}</code>
            </>
          )}
        </span>
        <Button variant="subtle" size="compact-xs" onClick={() => change({ copy_of: null, script: "" })}>
          Use a link instead
        </Button>
      </div>
    );
  }
  const problem = problemOf("link", "source") ?? (link === null ? problemOf("script") : undefined);
  return (
    <div className={css.group}>
      <TextInput
        label="Link to the script"
        description={problem ? undefined : "A file, branch, commit or repository on GitHub or any other git host"}
        placeholder="https://github.com/org/repository/blob/main/train.py"
        value={form.link ?? ""}
        error={problem}
        onChange={(event) => change({ link: event.currentTarget.value || null, script: "" })}
        autoFocus
        required
        spellCheck={false}
      />
      {form.link && link && <Parts key={`${link.url} ${link.ref} ${link.path}`} link={link} change={change} problem={problemOf("script")} />}
    </div>
  );
}

function Parts({ link, change, problem }: { link: LinkParts; change: FormPart["change"]; problem?: string }) {
  const [parts, setParts] = useState(link);
  useEffect(() => setParts(link), [link]);
  const say = (name: "url" | "ref" | "path") => {
    if (parts[name] !== link[name]) change({ link: linkOf(parts), script: "" });
  };
  const field = (name: "url" | "ref" | "path", label: string, placeholder?: string) => (
    <TextInput
      label={label}
      placeholder={placeholder}
      value={parts[name]}
      onChange={(event) => setParts({ ...parts, [name]: event.currentTarget.value })}
      error={name === "path" && problem !== undefined}
      onBlur={() => say(name)}
      onKeyDown={(event) => {
        if (event.key !== "Enter") return;
        event.preventDefault(); // what would start is not what is typed here
        say(name);
      }}
      spellCheck={false}
    />
  );
  return (
    <div className={css.parts}>
      {field("url", "Repository")}
      {field("ref", "Branch, tag or commit", link.commit.slice(0, 10))}
      {field("path", "Path of the script", "train.py")}
    </div>
  );
}
