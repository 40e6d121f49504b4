/** /new?link=…: the sheet over the list of runs, so that closing it leads somewhere. */
import { Redirect, useSearch } from "wouter";

export function NewRunRoute() {
  const search = useSearch();
  return <Redirect to={`/runs?new=1${search ? `&${search}` : ""}`} replace />;
}
