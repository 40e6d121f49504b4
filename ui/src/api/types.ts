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
export type LogLine = Schemas["LogLineDocument"];
export type LogPage = Schemas["LogWindowDocument"];
export type LogSearchAnswer = Schemas["LogSearchDocument"];
export type LogStreams = Schemas["LogStreamsDocument"];
export type ArtifactFolder = Schemas["ArtifactFolderDocument"];
export type ArtifactPreview = Schemas["Preview"];
export type ArtifactLink = Schemas["SharedDocument"];
export type ArtifactRow = Schemas["ArtifactRow"];

export type RunSummary = Schemas["RunSummary"];
export type TableRow = Schemas["TableRow"];
export type TablePage = Schemas["TableDocument"];
export type TableColumns = Schemas["TableColumns"];
export type RunTags = Schemas["RunTags"];
export type ExperimentTags = Schemas["ExperimentScalars"];
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
export type ClusterChoice = Schemas["ClusterChoice"];
export type InstanceType = Schemas["InstanceTypeRow"];

export type RunsChange = Schemas["RunsChange"];
export type RunChange = Schemas["RunChange"];

export type Machines = Schemas["MachinesDocument"];
export type Machine = Schemas["HostDocument"];
export type Gpu = Schemas["GpuDocument"];
export type Tenant = Schemas["TenantDocument"];
export type Queue = Schemas["QueueDocument"];
export type Waiting = Schemas["QueueRow"];

export type DatastoreRow = Schemas["DatastoreRow"];
export type DatastorePage = Schemas["DatastoresDocument"];
export type DatastoreDetails = Schemas["DatastoreDocument"];
export type DatastoreFile = Schemas["DatastoreFileRow"];
export type DatastoreFiles = Schemas["DatastoreFilesDocument"];
