/** What the server would do with the form, while it is being filled in. */
import { useDebouncedValue } from "@mantine/hooks";
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { post } from "@/api/client";
import type { NewRun, NewRunPlan } from "@/api/types";

export interface LivePlan {
  answer: NewRunPlan | undefined;
  /** The answer belongs to an earlier state of the form. */
  isStale: boolean;
  error: unknown;
}

export function usePlan(form: NewRun): LivePlan {
  const [settled] = useDebouncedValue(form, 200);
  const isWanted = Boolean(settled.link || settled.copy_of);
  const plan = useQuery({
    queryKey: ["new-run-plan", settled],
    queryFn: ({ signal }) => post("new-run/plan", { body: settled, signal }),
    enabled: isWanted,
    placeholderData: keepPreviousData,
    gcTime: 0,
    staleTime: 60_000,
  });
  if (!isWanted) return { answer: undefined, isStale: false, error: null };
  return { answer: plan.data, isStale: settled !== form || plan.isFetching, error: plan.error };
}
