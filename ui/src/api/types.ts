/** The server's words, generated from its OpenAPI document. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Problem = Schemas["ErrorText"];
export type Session = Schemas["SessionDocument"];
export type RunRow = Schemas["RunRow"];
export type RunPage = Schemas["RunsDocument"];
export type RunFilters = Schemas["RunFiltersDocument"];
export type Plan = Schemas["PlanDocument"];
export type RunSource = Schemas["SourceDocument"];
export type RootCause = Schemas["RootCauseDocument"];
export type ExperimentRow = Schemas["ExperimentRow"];
export type TimelineEvent = Schemas["EventDocument"];
export type Start = Schemas["StartDocument"];
export type ScriptArgument = Schemas["ArgumentDocument"];
export type ArtifactRow = Schemas["ArtifactRow"];

export interface RunSummary extends RunRow {
  plan: Plan;
  command: string;
  source: RunSource;
  strategy: string;
  framework: string;
  environment_names: string[];
  started_at: string | null;
  ended_at: string | null;
  duration_s: number | null;
  cost: number;
  params: string[];
}

export interface RankView {
  rank: number;
  local_rank: number;
  state: string;
  exit_code: number | null;
  exception: string | null;
  peak_mib: number | null;
}

export interface NodeView {
  node: number;
  gpus: number;
  cpus: number;
  devices: { uuid: string; name: string }[];
  ranks: RankView[];
}

export interface MachinePlacement {
  machine: number;
  hostname: string | null;
  address: string | null;
  state: string;
  unreachable_since: string | null;
  nodes: NodeView[];
}

export type ExperimentDocument = Schemas["ExperimentDocument"] & {
  user: string;
  framework: string;
  price_per_hour: number;
  script: string;
  environment: Record<string, string>;
  placement: MachinePlacement[];
};

export type DatastoreRow = Schemas["DatastoreRow"];
export type DatastorePage = Schemas["DatastoresDocument"];
export type DatastoreDetails = Schemas["DatastoreDocument"];
export type DatastoreFile = Schemas["DatastoreFileRow"];
export type DatastoreFiles = Schemas["DatastoreFilesDocument"];
