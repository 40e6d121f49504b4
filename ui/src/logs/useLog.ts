/** A log of any size: a window of it, moved by scrolling, jumping and following. */
import { useCallback, useEffect, useRef, useState } from "react";
import { get } from "@/api/client";
import { useLive } from "@/api/live";
import type { LogPage } from "@/api/types";
import { append, prepend } from "./window";

export interface LogChoice {
  rank: number | null;
  attempt: number | null;
  generation: number | null;
}

const AROUND = 400;

export interface Log {
  window: LogPage | null;
  error: unknown;
  /** Lines added (or, negative, cut) at the beginning by the last change: what the view must move by. */
  shift: number;
  /** Grows with every jump; the view then goes to `target`. */
  jumps: number;
  target: string | null;
  jump: (at: string) => Promise<void>;
  loadBefore: () => void;
  loadAfter: () => void;
}

interface State {
  window: LogPage | null;
  shift: number;
  jumps: number;
  target: string | null;
}

/** `begin` is where to look first. */
export function useLog(experiment: string, choice: LogChoice, begin: string): Log {
  const [state, setState] = useState<State>({ window: null, shift: 0, jumps: 0, target: null });
  const [error, setError] = useState<unknown>(null);
  const current = useRef(state);
  current.current = state;
  const busy = useRef(false);
  const again = useRef(false);
  const epoch = useRef(0);
  const choiceText = JSON.stringify(choice);

  const ask = useCallback(
    (at: string, before: number, after: number) =>
      get("experiments/{name}/log-window", {
        path: { name: experiment },
        query: { ...(JSON.parse(choiceText) as LogChoice), at, before, after },
      }),
    [experiment, choiceText],
  );

  /** One request at a time; an answer for another choice is dropped. */
  const once = useCallback(async (work: () => Promise<((state: State) => State) | null>) => {
    if (busy.current) return false;
    busy.current = true;
    const mine = epoch.current;
    try {
      const change = await work();
      if (mine === epoch.current && change !== null) {
        current.current = change(current.current);
        setState(current.current);
        setError(null);
      }
    } catch (failure) {
      if (mine === epoch.current) setError(failure);
    } finally {
      if (mine === epoch.current) busy.current = false;
    }
    return true;
  }, []);

  const jump = useCallback(
    async (at: string) => {
      epoch.current += 1;
      busy.current = false;
      await once(async () => {
        const page = await ask(at, at === "start" ? 0 : AROUND, at === "end" ? 0 : AROUND);
        return (now) => ({ window: page, shift: 0, jumps: now.jumps + 1, target: at });
      });
    },
    [ask, once],
  );

  const loadAfter = useCallback(async () => {
    const { window } = current.current;
    if (window?.after == null) return;
    const after = window.after;
    const asked = await once(async () => {
      const page = await ask(after, 0, AROUND);
      return (now) => {
        if (now.window === null) return now;
        const { window: next, cut } = append(now.window, page);
        return { ...now, window: next, shift: -cut };
      };
    });
    // News that came while a request was under way are asked for right after it.
    if (!asked) again.current = true;
    else if (again.current) {
      again.current = false;
      void loadAfter();
    }
  }, [ask, once]);

  const loadBefore = useCallback(() => {
    const { window } = current.current;
    if (window === null || window.at_start || window.before === null) return;
    const before = window.before;
    void once(async () => {
      const page = await ask(before, AROUND, 0);
      return (now) => {
        if (now.window === null) return now;
        const { window: next, added } = prepend(now.window, page);
        return { ...now, window: next, shift: added };
      };
    });
  }, [ask, once]);

  useEffect(() => void jump(begin), [jump]);

  const news = () => {
    if (current.current.window === null) void jump("end");
    else if (current.current.window.at_end) void loadAfter();
  };
  useLive(`logs:${experiment}`, news, news);

  return { ...state, error, jump, loadBefore, loadAfter: () => void loadAfter() };
}
