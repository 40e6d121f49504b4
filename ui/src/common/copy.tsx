/** Text to copy: a command, a link. */
import { ActionIcon, Tooltip } from "@mantine/core";
import { Check, Copy } from "lucide-react";
import { useState } from "react";
import css from "./copy.module.css";

export function CopyButton({ text, label = "Copy" }: { text: string; label?: string }) {
  const [copied, setCopied] = useState(false);
  const copy = async () => {
    await toClipboard(text);
    setCopied(true);
    window.setTimeout(() => setCopied(false), 1500);
  };
  return (
    <Tooltip label={copied ? "Copied" : label}>
      <ActionIcon size="sm" aria-label={label} onClick={() => void copy()}>
        {copied ? <Check size={14} /> : <Copy size={14} />}
      </ActionIcon>
    </Tooltip>
  );
}

export function CommandBlock({ command, label = "Copy command" }: { command: string; label?: string }) {
  return (
    <div className={css.block}>
      <pre className={css.text} tabIndex={0}>
        {command}
      </pre>
      <CopyButton text={command} label={label} />
    </div>
  );
}

async function toClipboard(text: string): Promise<void> {
  // Without TLS, on another computer, a page has no clipboard but the one of its selection.
  if (navigator.clipboard !== undefined) return navigator.clipboard.writeText(text);
  const field = document.createElement("textarea");
  field.value = text;
  document.body.append(field);
  field.select();
  document.execCommand("copy");
  field.remove();
}
