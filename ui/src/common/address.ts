/** What the address says behind its `?`: filters, tabs, what is chosen. */
import { useCallback, useMemo } from "react";
import { navigate, useSearch } from "wouter/use-browser-location";

type Change = URLSearchParams | Record<string, string> | ((now: URLSearchParams) => URLSearchParams);

/** Read the address's parameters as they are (the router's own hook decodes them twice), and go to others. */
export function useSearchParams(): [URLSearchParams, (change: Change, options?: { replace?: boolean }) => void] {
  const search = useSearch();
  const params = useMemo(() => new URLSearchParams(search), [search]);
  const go = useCallback((change: Change, options?: { replace?: boolean }) => {
    const { pathname, search } = window.location;
    const text = new URLSearchParams(typeof change === "function" ? change(new URLSearchParams(search)) : change).toString();
    navigate(pathname + (text && `?${text}`), options);
  }, []);
  return [params, go];
}

/** Put values into parameters, or take those out that have none. */
export function withValues(params: URLSearchParams, values: Record<string, string | null>): URLSearchParams {
  for (const [name, value] of Object.entries(values)) {
    if (value) params.set(name, value);
    else params.delete(name);
  }
  return params;
}

/** Return what opens the New run sheet over the page that is shown: empty, or filled in as a run was. */
export function useNewRun(): (clone?: string) => void {
  const [, go] = useSearchParams();
  return (clone) =>
    go((now) => withValues(now, { new: "1", clone: clone ?? null }));
}
