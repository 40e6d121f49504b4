/** Providers and routes. */
import { MantineProvider } from "@mantine/core";
import { QueryCache, QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { Suspense } from "react";
import { Redirect, Route, Switch } from "wouter";
import { isSignedOut, Refusal } from "@/api/errors";
import { lazyPart } from "@/common/lazyPart";
import { Empty, Loading } from "@/common/notices";
import { Page } from "@/common/Page";
import { RunsPage } from "@/runs/RunsPage";
import { prefetchRuns } from "@/runs/useRuns";
import { Boundary } from "./Boundary";
import { NewRunRoute } from "./NewRunRoute";
import { SessionGate } from "./session";
import { Shell } from "./Shell";
import { SignIn } from "./SignIn";
import { cssVariables, theme } from "./theme";

const RunPage = lazyPart(() => import("@/run/RunPage"));
const ExperimentPage = lazyPart(() => import("@/experiment/ExperimentPage"));
const MachinesPage = lazyPart(() => import("@/machines/MachinesPage"));
const DatastorePage = lazyPart(() => import("@/datastores/DatastorePage"));
const DatastoresPage = lazyPart(() => import("@/datastores/DatastoresPage"));

const client: QueryClient = new QueryClient({
  queryCache: new QueryCache({
    onError: (error, query) => {
      if (isSignedOut(error) && query.queryKey[0] !== "session") void client.invalidateQueries({ queryKey: ["session"] });
    },
  }),
  defaultOptions: {
    queries: {
      staleTime: 5_000,
      refetchOnWindowFocus: false,
      // What the server refuses it refuses again; a server that does not answer may be back in a moment.
      retry: (failures, error) => !(error instanceof Refusal) && failures < 2,
    },
  },
});

if (["/", "/runs"].includes(window.location.pathname)) prefetchRuns(client, new URLSearchParams(window.location.search));

export function App() {
  return (
    <MantineProvider theme={theme} defaultColorScheme="auto" cssVariablesResolver={cssVariables}>
      <QueryClientProvider client={client}>
        <Switch>
          <Route path="/sign-in">
            <SignIn />
          </Route>
          <Route>
            <SessionGate>
              <Pages />
            </SessionGate>
          </Route>
        </Switch>
      </QueryClientProvider>
    </MantineProvider>
  );
}

function Pages() {
  return (
    <Shell>
      <Boundary>
        <Suspense fallback={<Loading what="page" />}>
          <Switch>
            <Route path="/">
              <Redirect to="/runs" replace />
            </Route>
            <Route path="/runs">
              <RunsPage />
            </Route>
            <Route path="/new">
              <NewRunRoute />
            </Route>
            <Route path="/runs/:run">{({ run }) => <RunPage name={run} />}</Route>
            <Route path="/experiments/:experiment">{({ experiment }) => <ExperimentPage name={experiment} />}</Route>
            <Route path="/machines">
              <MachinesPage />
            </Route>
            <Route path="/datastores">
              <DatastoresPage />
            </Route>
            <Route path="/datastores/:name">{({ name }) => <DatastorePage name={name} />}</Route>
            <Route>
              <Page title="Not found">
                <Empty title="There is no such page.">Runs, machines and datastores are in the navigation on the left.</Empty>
              </Page>
            </Route>
          </Switch>
        </Suspense>
      </Boundary>
    </Shell>
  );
}
