/** The logs of an experiment: merged or of one rank, found, followed, downloaded. */
import { ActionIcon, Button, Select, Switch, TextInput, Tooltip } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { ArrowDown, ArrowDownToLine, ArrowUp, CaseSensitive, CircleAlert, Download, Regex, Search } from "lucide-react";
import { useState, type KeyboardEvent, type ReactNode } from "react";
import { get, url } from "@/api/client";
import { isMissing } from "@/api/errors";
import type { ExperimentDocument, LogLine } from "@/api/types";
import { useSearchParams, withValues } from "@/common/address";
import { Empty, Failure, Loading } from "@/common/notices";
import { bytes } from "@/format/numbers";
import { isOver } from "@/format/states";
import css from "./logs.module.css";
import { LogView } from "./LogView";
import { useLog, type LogChoice } from "./useLog";
import { useSearch, type Wanted } from "./useSearch";

export default function LogsTab({ experiment }: { experiment: ExperimentDocument }) {
  const name = experiment.experiment;
  const [params, setParams] = useSearchParams();
  const number = (key: string) => (params.get(key) === null ? null : Number(params.get(key)));
  const choice: LogChoice = {
    rank: number("rank"),
    attempt: number("attempt"),
    generation: number("generation"),
  };
  // A marked line is one of the log that was chosen.
  const choose = (name: string, value: string | null) => setParams((now) => withValues(now, { [name]: value, line: null }));
  const mark = (line: string | null) => setParams((now) => withValues(now, { line }), { replace: true });
  const key = JSON.stringify(choice);
  return <Chosen key={key} experiment={experiment} name={name} choice={choice} choose={choose} marked={params.get("line")} mark={mark} />;
}

interface ChosenProps {
  experiment: ExperimentDocument;
  name: string;
  choice: LogChoice;
  choose: (key: string, value: string | null) => void;
  /** The cursor of the line that was found or clicked; in the address, so that a link leads to it. */
  marked: string | null;
  mark: (line: string | null) => void;
}

function Chosen({ experiment, name, choice, choose, marked, mark }: ChosenProps) {
  const log = useLog(name, choice, marked ?? "end");
  const search = useSearch(name, choice);
  const [follow, setFollow] = useState(!isOver(experiment.state) && marked === null);
  const [showTimes, setShowTimes] = useState(false);
  const [wanted, setWanted] = useState<Wanted>({ q: "", regex: false, case: false });

  const goTo = async (line: LogLine | null) => {
    if (line === null) return;
    setFollow(false);
    mark(line.cursor);
    await log.jump(line.cursor);
  };
  const find = async (direction: "next" | "previous") => {
    if (wanted.q === "") return;
    const line = log.window?.lines.find((each) => each.cursor === marked);
    const at = direction === "next" ? (line?.end ?? "start") : (line?.cursor ?? "end");
    await goTo(await search.find(wanted, at, direction));
  };
  const findError = async () => goTo(await search.find(null, "start", "next"));
  const onKey = (event: KeyboardEvent) => {
    if (event.key === "Enter") void find(event.shiftKey ? "previous" : "next");
  };
  const want = (change: Partial<Wanted>) => {
    setWanted((now) => ({ ...now, ...change }));
    if (marked !== null) mark(null);
  };
  const followAgain = (wanted: boolean) => {
    setFollow(wanted);
    if (wanted && !log.window?.at_end) void log.jump("end");
  };

  return (
    <div className={css.logs}>
      <div className={css.bar}>
        <RankChoice experiment={experiment} choice={choice} choose={choose} attempts={log.window?.attempts ?? []} />
        <TextInput
          aria-label="Search the log"
          placeholder="Search the log"
          leftSection={<Search size={14} />}
          rightSection={
            <>
              <Toggle label="Match case" isOn={wanted.case} icon={<CaseSensitive size={15} />} toggle={() => want({ case: !wanted.case })} />
              <Toggle label="Regular expression" isOn={wanted.regex} icon={<Regex size={13} />} toggle={() => want({ regex: !wanted.regex })} />
            </>
          }
          rightSectionWidth={50}
          value={wanted.q}
          onChange={(event) => want({ q: event.currentTarget.value })}
          onKeyDown={onKey}
          spellCheck={false}
          w={260}
        />
        <Tooltip label="Next match (Enter)">
          <ActionIcon aria-label="Next match" onClick={() => void find("next")} loading={search.isSearching}>
            <ArrowDown size={15} />
          </ActionIcon>
        </Tooltip>
        <Tooltip label="Previous match (Shift Enter)">
          <ActionIcon aria-label="Previous match" onClick={() => void find("previous")}>
            <ArrowUp size={15} />
          </ActionIcon>
        </Tooltip>
        <Button variant="default" leftSection={<CircleAlert size={14} />} onClick={() => void findError()}>
          First error
        </Button>
        <span className="soft" role="status">
          {search.note}
        </span>
        <span className={css.right}>
          <Switch label="Times" checked={showTimes} onChange={(event) => setShowTimes(event.currentTarget.checked)} />
          <Switch label="Follow" checked={follow} onChange={(event) => followAgain(event.currentTarget.checked)} />
          <Tooltip label="To the end">
            <ActionIcon aria-label="To the end" onClick={() => void log.jump("end")}>
              <ArrowDownToLine size={15} />
            </ActionIcon>
          </Tooltip>
          <Tooltip label={`Download${log.window ? ` (${bytes(log.window.size)})` : ""}`}>
            <ActionIcon
              component="a"
              aria-label="Download the log"
              href={url("experiments/{name}/logs", { path: { name }, query: { ...choice, prefix: choice.rank === null } })}
              download
            >
              <Download size={15} />
            </ActionIcon>
          </Tooltip>
        </span>
      </div>
      <Body log={log} choice={choice} follow={follow} setFollow={setFollow} showTimes={showTimes} marked={marked} mark={mark} />
    </div>
  );
}

function Toggle({ label, isOn, icon, toggle }: { label: string; isOn: boolean; icon: ReactNode; toggle: () => void }) {
  return (
    <Tooltip label={label}>
      <ActionIcon size="sm" aria-label={label} aria-pressed={isOn} variant={isOn ? "filled" : "subtle"} color={isOn ? "grid" : "gray"} onClick={toggle}>
        {icon}
      </ActionIcon>
    </Tooltip>
  );
}

interface BodyProps {
  log: ReturnType<typeof useLog>;
  choice: LogChoice;
  follow: boolean;
  setFollow: (follow: boolean) => void;
  showTimes: boolean;
  marked: string | null;
  mark: (line: string) => void;
}

function Body({ log, choice, follow, setFollow, showTimes, marked, mark }: BodyProps) {
  if (log.error && !isMissing(log.error)) return <Failure error={log.error} retry={() => void log.jump("end")} />;
  if (log.window === null && !log.error) return <Loading what="the log" />;
  if (log.window === null || log.window.lines.length === 0) {
    return <Empty title="No output yet.">What the ranks print appears here as they print it.</Empty>;
  }
  return <LogView log={log} showRank={choice.rank === null} showTimes={showTimes} follow={follow} onFollow={setFollow} marked={marked} onMark={mark} />;
}

function RankChoice({ experiment, choice, choose, attempts }: Pick<ChosenProps, "experiment" | "choice" | "choose"> & { attempts: number[] }) {
  const streams = useQuery({
    queryKey: ["log-streams", experiment.experiment, choice.attempt],
    queryFn: () => get("experiments/{name}/log-streams", { path: { name: experiment.experiment }, query: { attempt: choice.attempt } }),
  });
  const generations = [...new Set((streams.data?.streams ?? []).map((stream) => stream.generation))].sort((a, b) => a - b);
  const ranks = Array.from({ length: experiment.world_size }, (_, rank) => ({ value: String(rank), label: `Rank ${rank}` }));
  return (
    <>
      <Select
        aria-label="Rank"
        data={[{ value: "all", label: `All ${experiment.world_size} ranks` }, ...ranks]}
        value={choice.rank === null ? "all" : String(choice.rank)}
        onChange={(rank) => choose("rank", rank === "all" ? null : rank)}
        allowDeselect={false}
        searchable={experiment.world_size > 8}
        w={130}
      />
      {attempts.length > 1 && (
        <Select
          aria-label="Attempt"
          data={attempts.map((attempt) => ({ value: String(attempt), label: `Attempt ${attempt}` }))}
          value={String(choice.attempt ?? attempts.at(-1))}
          onChange={(attempt) => choose("attempt", attempt)}
          allowDeselect={false}
          w={120}
        />
      )}
      {generations.length > 1 && (
        <Select
          aria-label="Generation"
          data={[{ value: "all", label: "All generations" }, ...generations.map((each) => ({ value: String(each), label: `Generation ${each}` }))]}
          value={choice.generation === null ? "all" : String(choice.generation)}
          onChange={(generation) => choose("generation", generation === "all" ? null : generation)}
          allowDeselect={false}
          w={150}
        />
      )}
    </>
  );
}
