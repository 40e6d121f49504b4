/** What one can do with runs and experiments; the server decides what may be done. */
import { post } from "@/api/client";

export type Kind = "run" | "experiment";

/** With `force`, ranks get no time to save. */
export const stop = (kind: Kind, names: string[], force = false) => post("stop", { body: { kind, names, force } });
export const resume = (kind: Kind, names: string[]) => post("resume", { body: { kind, names, failed: false } });
export const destroy = (kind: Kind, names: string[]) => post("delete", { body: { kind, names } });
export const clone = (names: string[]) => post("clone", { body: { names } });
