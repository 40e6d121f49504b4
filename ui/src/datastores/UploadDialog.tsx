/** A small folder, or some files, of this computer become the next version of a datastore. */
import { Button, FileButton, Group, Modal, Progress, TextInput } from "@mantine/core";
import { useEffect, useRef, useState } from "react";
import { useLocation } from "wouter";
import { CommandBlock } from "@/common/copy";
import { Failure } from "@/common/notices";
import { bytes, plural } from "@/format/numbers";
import { datastorePage } from "@/format/places";
import css from "./datastores.module.css";
import { canUpload, chosenOf, objectionTo, sizeOf, upload, type Chosen } from "./upload";

/** Not among the attributes that React's types know. */
const A_FOLDER: object = { webkitdirectory: "" };

export default function UploadDialog({ close }: { close: () => void }) {
  const [name, setName] = useState("");
  const [chosen, setChosen] = useState<Chosen[]>([]);
  const [done, setDone] = useState<number | null>(null);
  const [error, setError] = useState<unknown>(null);
  const [, navigate] = useLocation();
  const going = useRef<AbortController>(null);
  useEffect(() => () => going.current?.abort(), []);

  const choose = (files: File[]) => {
    setError(null);
    setChosen(chosenOf(files));
    const folder = files[0]?.webkitRelativePath.split("/")[0];
    if (name === "" && folder) setName(folder);
  };
  const start = async () => {
    setError(null);
    setDone(0);
    going.current = new AbortController();
    const { signal } = going.current;
    try {
      const made = await upload(name, `${name}, from a browser`, chosen, (some) => setDone((before) => (before ?? 0) + some), signal);
      navigate(datastorePage(made.name, made.version));
    } catch (failure) {
      if (signal.aborted) return;
      setError(failure);
      setDone(null);
    }
  };

  const size = sizeOf(chosen);
  const objection = objectionTo(chosen);
  const isBusy = done !== null;
  return (
    <Modal opened onClose={close} closeOnClickOutside={!isBusy} title="Upload a datastore" centered size="md" closeButtonProps={{ "aria-label": "Close" }}>
      {canUpload() ? (
        <form
          onSubmit={(event) => {
            event.preventDefault();
            void start();
          }}
        >
          <TextInput label="Name" description="A new version of it, if there is one" value={name} onChange={(event) => setName(event.currentTarget.value)} disabled={isBusy} required data-autofocus spellCheck={false} />
          <Group gap="xs" mt="md">
            <FileButton multiple onChange={choose} inputProps={{ ...A_FOLDER, "aria-label": "Folder" }} disabled={isBusy}>
              {(props) => (
                <Button variant="default" {...props}>
                  Choose a folder
                </Button>
              )}
            </FileButton>
            <FileButton multiple onChange={choose} inputProps={{ "aria-label": "Files" }} disabled={isBusy}>
              {(props) => (
                <Button variant="default" {...props}>
                  Choose files
                </Button>
              )}
            </FileButton>
            <span className="soft num">{chosen.length > 0 && `${plural(chosen.length, "file")}, ${bytes(size)}`}</span>
          </Group>
          {isBusy && <Progress value={size === 0 ? 100 : (50 * done) / size} mt="md" aria-label="Sent" />}
          {objection && <p>{objection}</p>}
          {error !== null && <Failure error={error} />}
          <Group justify="flex-end" gap="xs" mt="lg">
            <Button variant="default" onClick={close}>
              Cancel
            </Button>
            <Button type="submit" loading={isBusy} disabled={chosen.length === 0 || objection !== null}>
              Upload
            </Button>
          </Group>
        </form>
      ) : (
        <p>A browser sends data only to a server of this computer, or over https.</p>
      )}
      {(objection !== null || !canUpload()) && (
        <>
          <p className={css.how}>In a terminal, of any size, and going on after an interruption:</p>
          <CommandBlock command={`grid datastore create ./my-data --name ${name || "my-data"}`} />
        </>
      )}
    </Modal>
  );
}
