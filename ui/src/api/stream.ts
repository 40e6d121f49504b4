/** The one stream of events of this tab: topics come and go, the connection is one.
 *
 * A topic's events are changes; what was missed while away is told as "not fresh", and then the topic is fetched anew.
 */

interface Listener {
  /** Something changed; `data` is what the server says of the topic. */
  change?: (data: never) => void;
  /** Something may have been missed: fetch. */
  refetch: () => void;
}

export type Connection = "idle" | "connecting" | "open" | "lost" | "signed-out";

interface Source {
  addEventListener(kind: string, listener: (event: MessageEvent<string>) => void): void;
  close(): void;
  readyState: number;
  onerror: ((event: Event) => void) | null;
}

interface Surroundings {
  open: (url: string) => Source;
  /** Whether the server still knows us. */
  isSignedIn: () => Promise<boolean>;
  setTimer: (call: () => void, ms: number) => unknown;
  clearTimer: (timer: unknown) => void;
}

/** Topics that come and go in one breath (a page that is left, another that opens) make one new connection. */
const SETTLE_MS = 40;
const CLOSED = 2;

export class Stream {
  private listeners = new Map<string, Set<Listener>>();
  private watchers = new Set<() => void>();
  private source: Source | null = null;
  private connected = "";
  private lastId = "";
  private timer: unknown = null;
  private failures = 0;
  private hidden = false;
  connection: Connection = "idle";

  constructor(private readonly around: Surroundings) {}

  /** Listen to a topic until the returned function is called. */
  subscribe(topic: string, listener: Listener): () => void {
    const listeners = this.listeners.get(topic) ?? new Set();
    this.listeners.set(topic, listeners.add(listener));
    this.settle();
    return () => {
      listeners.delete(listener);
      if (listeners.size === 0) this.listeners.delete(topic);
      this.settle();
    };
  }

  /** Be told when `connection` changes. */
  watch(watcher: () => void): () => void {
    this.watchers.add(watcher);
    return () => this.watchers.delete(watcher);
  }

  /** A hidden tab holds no connection. */
  setHidden(hidden: boolean): void {
    this.hidden = hidden;
    this.settle();
  }

  /** Connect at once, as after signing in. */
  retry(): void {
    this.connected = "";
    this.settle();
  }

  private settle(ms = SETTLE_MS): void {
    this.around.clearTimer(this.timer);
    this.timer = this.around.setTimer(() => this.connect(), ms);
  }

  private connect(): void {
    const topics = this.hidden ? [] : [...this.listeners.keys()].sort();
    const wanted = topics.join("\n");
    if (wanted === this.connected && this.source !== null) return;
    this.source?.close();
    this.source = null;
    this.connected = wanted;
    if (topics.length === 0) return this.become("idle");
    const query = new URLSearchParams(topics.map((topic) => ["topic", topic]));
    if (this.lastId) query.set("last_event_id", this.lastId);
    if (this.connection !== "lost") this.become("connecting");
    const source = this.around.open(`/api/v1/stream?${query}`);
    this.source = source;
    for (const kind of ["ready", "change", "reset"] as const) {
      source.addEventListener(kind, (event) => {
        if (this.source === source) this.receive(kind, event);
      });
    }
    source.onerror = () => {
      if (this.source === source) void this.failed(source);
    };
  }

  private receive(kind: "ready" | "change" | "reset", event: MessageEvent<string>): void {
    if (event.lastEventId) this.lastId = event.lastEventId;
    const data = JSON.parse(event.data) as Record<string, unknown>;
    this.failures = 0;
    this.become("open");
    if (kind === "change") {
      const isWhole = data.kind !== "gone" && data.refetch !== true;
      for (const listener of this.listeners.get(String(data.topic)) ?? []) {
        if (isWhole && listener.change) listener.change(data as never);
        else listener.refetch();
      }
      return;
    }
    const stale = (data.topics as (string | { topic: string; fresh: boolean })[])
      .filter((topic) => typeof topic === "string" || !topic.fresh)
      .map((topic) => (typeof topic === "string" ? topic : topic.topic));
    for (const topic of stale) for (const listener of this.listeners.get(topic) ?? []) listener.refetch();
  }

  /** The browser tries again by itself unless it gave up; then we do, slower each time. */
  private async failed(source: Source): Promise<void> {
    if (source.readyState === CLOSED && !(await this.around.isSignedIn().catch(() => true))) {
      this.source = null;
      return this.become("signed-out");
    }
    this.become("lost");
    if (source.readyState !== CLOSED || this.source !== source) return;
    this.source = null;
    this.failures += 1;
    this.settle(Math.min(10_000, 500 * 2 ** (this.failures - 1)));
  }

  private become(connection: Connection): void {
    if (this.connection === connection) return;
    this.connection = connection;
    for (const watcher of this.watchers) watcher();
  }
}

/** This tab's stream. */
export const stream = new Stream({
  open: (url) => new EventSource(url),
  isSignedIn: async () => (await fetch("/api/v1/session")).status !== 401,
  setTimer: (call, ms) => window.setTimeout(call, ms),
  clearTimer: (timer) => window.clearTimeout(timer as number),
});
