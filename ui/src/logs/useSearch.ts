/** Searching a log on the server, in slices of work, until something is found or the end is reached. */
import { useRef, useState } from "react";
import { get, path } from "@/api/client";
import { problemOf } from "@/api/errors";
import type { LogChoice } from "./useLog";
import type { LogLine } from "./window";

interface SearchAnswer {
  cursor: string | null;
  line: LogLine | null;
  next: string | null;
  searched: number;
}

export interface LogSearch {
  isSearching: boolean;
  /** What came of the last search, when nothing was found. */
  note: string | null;
  find: (what: { q: string; regex: boolean; errors: boolean; at: string; direction: "next" | "previous" }) => Promise<string | null>;
}

export function useSearch(experiment: string, choice: LogChoice): LogSearch {
  const [isSearching, setSearching] = useState(false);
  const [note, setNote] = useState<string | null>(null);
  const turn = useRef(0);
  const find: LogSearch["find"] = async ({ q, regex, errors, at, direction }) => {
    const mine = ++turn.current;
    setSearching(true);
    setNote(null);
    try {
      let place: string | null = at;
      while (place !== null && mine === turn.current) {
        const route = path("experiments", experiment, "log-search");
        const answer: SearchAnswer = await get(route, { ...choice, q, regex, errors, at: place, direction });
        if (mine !== turn.current) return null;
        if (answer.cursor !== null) return answer.cursor;
        place = answer.next;
      }
      setNote(errors ? "No error in this log" : direction === "next" ? "Nothing further down" : "Nothing further up");
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
