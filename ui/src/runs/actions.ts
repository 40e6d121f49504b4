/** What one can do with runs and experiments; the server decides what may be done. */
import { post } from "@/api/client";

export type Kind = "run" | "experiment";

export const stop = (kind: Kind, names: string[]) => post<{ stopped: string[]; already: string[] }>("stop", { kind, names });
export const resume = (kind: Kind, names: string[]) => post<{ resumed: string[] }>("resume", { kind, names });
export const destroy = (kind: Kind, names: string[]) => post<{ deleted: string[] }>("delete", { kind, names });
export const clone = (names: string[]) => post<{ runs: { run: string }[] }>("clone", { names });
