/** The server's words, generated from its OpenAPI document. */
import type { components } from "./schema";

type Schemas = components["schemas"];

export type Problem = Schemas["ErrorText"];
export type Session = Schemas["SessionDocument"];
export type RunRow = Schemas["RunRow"];
export type RunPage = Schemas["RunsDocument"];
export type Plan = Schemas["PlanDocument"];
export type RootCause = Schemas["RootCauseDocument"];
export type TimelineEvent = Schemas["EventDocument"];
export type Start = Schemas["StartDocument"];
export type ScriptArgument = Schemas["ArgumentDocument"];
export type LogLine = Schemas["LogLineDocument"];
export type LogPage = Schemas["LogWindowDocument"];
export type LogSearchAnswer = Schemas["LogSearchDocument"];
export type ArtifactLink = Schemas["SharedDocument"];
export type ArtifactRow = Schemas["ArtifactRow"];

export type RunSummary = Schemas["RunSummary"];
export type TableRow = Schemas["TableRow"];
export type TableColumns = Schemas["TableColumns"];
export type RunTags = Schemas["RunTags"];
export type SeriesAnswer = Schemas["SeriesAnswer"];
export type Series = Schemas["SeriesDocument"];
export type SystemRow = Schemas["SystemRow"];
export type System = Schemas["SystemDocument"];
export type MachinePlacement = Schemas["MachineDocument"];
export type NodeView = Schemas["NodeDocument"];
export type RankView = Schemas["RankDocument"];
export type ExperimentDocument = Schemas["ExperimentDocument"];
export type NewRun = Required<Schemas["NewRun"]>;
export type NewRunPlan = Schemas["NewRunPlanDocument"];
export type LinkParts = Schemas["PlaceDocument"];
export type InstanceType = Schemas["InstanceTypeRow"];

export type RunsChange = Schemas["RunsChange"];
export type RunChange = Schemas["RunChange"];

export type Machine = Schemas["HostDocument"];
export type Gpu = Schemas["GpuDocument"];
export type Tenant = Schemas["TenantDocument"];
export type Waiting = Schemas["QueueRow"];

export type DatastoreRow = Schemas["DatastoreRow"];
export type DatastoreDetails = Schemas["DatastoreDocument"];
export type DatastoreFile = Schemas["DatastoreFileRow"];
