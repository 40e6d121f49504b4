/** /new?link=…: the sheet over the list of runs, so that closing it leads somewhere. */
import { Redirect } from "wouter";
import { useSearch } from "wouter/use-browser-location";

export function NewRunRoute() {
  return <Redirect to={`/runs?new=1${useSearch().replace("?", "&")}`} replace />;
}
