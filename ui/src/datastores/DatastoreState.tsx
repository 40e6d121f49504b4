import { stateColor } from "@/format/states";

/** The state of a version, in the server's word. */
export function DatastoreState({ row: { state, reason } }: { row: { state: string; reason: string } }) {
  return (
    <span style={{ color: stateColor(state === "processing" ? "running" : state), fontWeight: 500 }} title={reason}>
      {state}
    </span>
  );
}
