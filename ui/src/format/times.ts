/** Times and durations as people read them. */

const ABSOLUTE = new Intl.DateTimeFormat("en-GB", {
  day: "numeric",
  month: "short",
  year: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  timeZoneName: "short",
});
const DAY = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const DAY_AND_YEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric" });
const CLOCK = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3 });

export function absolute(iso: string): string {
  return ABSOLUTE.format(new Date(iso));
}

/** Time of day with milliseconds, for logs and timelines. */
export function clock(iso: string): string {
  return CLOCK.format(new Date(iso));
}

/** `12 Nov`: of what the time of day does not say. */
export function day(iso: string): string {
  return DAY.format(new Date(iso));
}

/** `just now`, `3 min ago`, `5 h ago`, `yesterday`, `12 Nov`. */
export function relative(iso: string, nowMs: number): string {
  const then = new Date(iso);
  const seconds = (nowMs - then.getTime()) / 1000;
  if (seconds < 10) return "just now";
  if (seconds < 60) return `${Math.floor(seconds)} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 172800) return "yesterday";
  if (seconds < 604800) return `${Math.floor(seconds / 86400)} days ago`;
  return then.getFullYear() === new Date(nowMs).getFullYear() ? DAY.format(then) : DAY_AND_YEAR.format(then);
}

/** `0:07`, `12:05`, `3:12:05`, `2d 03:12:05`. */
export function duration(seconds: number): string {
  const whole = Math.max(0, Math.floor(seconds));
  const days = Math.floor(whole / 86400);
  const hours = Math.floor((whole % 86400) / 3600);
  const minutes = Math.floor((whole % 3600) / 60);
  const two = (value: number) => String(value).padStart(2, "0");
  if (days > 0) return `${days}d ${two(hours)}:${two(minutes)}:${two(whole % 60)}`;
  if (hours > 0) return `${hours}:${two(minutes)}:${two(whole % 60)}`;
  return `${minutes}:${two(whole % 60)}`;
}

/** Seconds between two times; until now while it has not ended; null while it has not begun. */
export function elapsed(started: string | null, ended: string | null, nowMs: number): number | null {
  if (started === null) return null;
  return ((ended === null ? nowMs : Date.parse(ended)) - Date.parse(started)) / 1000;
}
