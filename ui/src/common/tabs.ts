/** The chosen tab, in the address; what other tabs have there stays for when one comes back to them. */
import { useSearchParams, withValues } from "./address";

export function useTab<Tab extends string>(tabs: readonly Tab[]): [Tab, (tab: Tab) => void] {
  const [params, setParams] = useSearchParams();
  const wanted = params.get("tab");
  const tab = tabs.find((each) => each === wanted) ?? tabs[0]!;
  return [tab, (next) => setParams((now) => withValues(now, { tab: next === tabs[0] ? null : next }))];
}
