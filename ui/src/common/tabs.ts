/** The chosen tab, in the address. */
import { useSearchParams } from "wouter";

export function useTab<Tab extends string>(tabs: readonly Tab[]): [Tab, (tab: Tab) => void] {
  const [params, setParams] = useSearchParams();
  const wanted = params.get("tab");
  const tab = tabs.find((each) => each === wanted) ?? tabs[0]!;
  return [tab, (next) => setParams(next === tabs[0] ? {} : { tab: next })];
}
