/** What happened to an experiment, newest last; where its ranks were started again, what that cost. */
import { Tooltip } from "@mantine/core";
import type { Start, TimelineEvent } from "@/api/types";
import { absolute, clock, day, duration } from "@/format/times";
import { stateColor } from "@/format/states";
import css from "./experiment.module.css";

export function Timeline({ events, starts }: { events: TimelineEvent[]; starts: Start[] }) {
  return (
    <>
      <ol className={css.timeline} tabIndex={0} aria-label="Events">
        {events.map((event, index) => (
          <li key={index} style={{ "--event": event.to && event.kind === "state" ? stateColor(event.to) : "var(--line-strong)" } as React.CSSProperties}>
            <Tooltip label={absolute(event.at)}>
              <time className="num soft" dateTime={event.at}>
                {day(event.at) !== day(events[index - 1]?.at ?? events[0]!.at) && <strong>{day(event.at)} </strong>}
                {clock(event.at)}
              </time>
            </Tooltip>
            <span>
              {event.to && <strong>{event.kind === "state" ? event.to : `${event.kind} ${event.to}`}</strong>}
              {event.to && event.reason && ": "}
              {event.reason}
            </span>
          </li>
        ))}
      </ol>
      {starts.length > 1 && <Restarts starts={starts} />}
    </>
  );
}

function Restarts({ starts }: { starts: Start[] }) {
  return (
    <table className={css.plain}>
      <caption>Starts of the ranks</caption>
      <thead>
        <tr>
          <th>Attempt</th>
          <th>Generation</th>
          <th>From</th>
          <th>Lost</th>
          <th>Ended by</th>
        </tr>
      </thead>
      <tbody>
        {starts.map((start) => (
          <tr key={`${start.attempt}.${start.generation}`}>
            <td className="num">{start.attempt}</td>
            <td className="num">{start.generation}</td>
            <td className="mono">{start.resumed_from ?? "the beginning"}</td>
            <td className="num">{lost(start)}</td>
            <td>{start.cause ?? ""}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function lost({ lost_s, lost_steps }: Start): string {
  const parts = [lost_s === null ? null : duration(lost_s), lost_steps === null ? null : `${lost_steps} steps`];
  return parts.filter(Boolean).join(", ") || "–";
}
