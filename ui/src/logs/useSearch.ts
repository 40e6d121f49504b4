/** Searching a log on the server, in slices of work, until something is found or the end is reached. */
import { useRef, useState } from "react";
import { get } from "@/api/client";
import type { LogLine, LogSearchAnswer } from "@/api/types";
import { problemOf } from "@/api/errors";
import type { LogChoice } from "./useLog";

/** What is looked for; the server's words. */
export interface Wanted {
  q: string;
  regex: boolean;
  case: boolean;
}

interface LogSearch {
  isSearching: boolean;
  /** What came of the last search, when nothing was found. */
  note: string | null;
  /** Without something wanted, whatever programs write when they fail. */
  find: (wanted: Wanted | null, at: string, direction: "next" | "previous") => Promise<LogLine | null>;
}

export function useSearch(experiment: string, choice: LogChoice): LogSearch {
  const [isSearching, setSearching] = useState(false);
  const [note, setNote] = useState<string | null>(null);
  const turn = useRef(0);
  const find: LogSearch["find"] = async (wanted, at, direction) => {
    const mine = ++turn.current;
    setSearching(true);
    setNote(null);
    try {
      let place: string | null = at;
      while (place !== null && mine === turn.current) {
        const query = { ...choice, ...(wanted ?? { errors: true }), at: place, direction };
        const answer: LogSearchAnswer = await get("experiments/{name}/log-search", { path: { name: experiment }, query });
        if (mine !== turn.current) return null;
        if (answer.line !== null) return answer.line;
        place = answer.next;
      }
      setNote(wanted === null ? "No error in this log" : direction === "next" ? "Nothing further down" : "Nothing further up");
      return null;
    } catch (error) {
      setNote(problemOf(error).message);
      return null;
    } finally {
      if (mine === turn.current) setSearching(false);
    }
  };
  return { isSearching, note, find };
}
