import { beforeEach, describe, expect, test, vi } from "vitest";
import { Stream } from "./stream";

class FakeSource {
  readyState = 1;
  onerror: ((event: Event) => void) | null = null;
  isClosed = false;
  private listeners = new Map<string, (event: MessageEvent<string>) => void>();

  constructor(readonly url: string) {}

  addEventListener(kind: string, listener: (event: MessageEvent<string>) => void) {
    this.listeners.set(kind, listener);
  }

  close() {
    this.isClosed = true;
  }

  say(kind: string, data: unknown, lastEventId = "") {
    this.listeners.get(kind)?.({ data: JSON.stringify(data), lastEventId } as MessageEvent<string>);
  }

  fail(readyState: number) {
    this.readyState = readyState;
    this.onerror?.(new Event("error"));
  }
}

let opened: FakeSource[];
let timers: { call: () => void; ms: number }[];
let isSignedIn: boolean;
let stream: Stream;

const runTimers = () => {
  const due = timers;
  timers = [];
  for (const { call } of due) call();
};

beforeEach(() => {
  opened = [];
  timers = [];
  isSignedIn = true;
  stream = new Stream({
    open: (url) => {
      opened.push(new FakeSource(url));
      return opened.at(-1)!;
    },
    isSignedIn: () => Promise.resolve(isSignedIn),
    setTimer: (call, ms) => {
      const timer = { call, ms };
      timers.push(timer);
      return timer;
    },
    clearTimer: (timer) => {
      timers = timers.filter((each) => each !== timer);
    },
  });
});

describe("the stream", () => {
  test("topics that come together share one connection", () => {
    stream.subscribe("runs", { refetch: vi.fn() });
    stream.subscribe("run:a", { refetch: vi.fn() });
    runTimers();
    expect(opened.map((source) => source.url)).toEqual(["/api/v1/stream?topic=run%3Aa&topic=runs"]);
  });

  test("a change reaches the listeners of its topic alone", () => {
    const runs = { change: vi.fn(), refetch: vi.fn() };
    const other = { change: vi.fn(), refetch: vi.fn() };
    stream.subscribe("runs", runs);
    stream.subscribe("run:a", other);
    runTimers();
    opened[0]!.say("change", { topic: "runs", runs: [] }, "7");
    expect(runs.change).toHaveBeenCalledWith({ topic: "runs", runs: [] });
    expect(other.change).not.toHaveBeenCalled();
  });

  test("what the server does not send in full is fetched", () => {
    const listener = { change: vi.fn(), refetch: vi.fn() };
    stream.subscribe("runs", listener);
    runTimers();
    opened[0]!.say("change", { topic: "runs", kind: "runs", runs: [], refetch: true });
    opened[0]!.say("change", { topic: "runs", kind: "gone" });
    expect(listener.change).not.toHaveBeenCalled();
    expect(listener.refetch).toHaveBeenCalledTimes(2);
  });

  test("what is not fresh after connecting is fetched, and nothing else", () => {
    const stale = vi.fn();
    const fresh = vi.fn();
    stream.subscribe("runs", { refetch: stale });
    stream.subscribe("run:a", { refetch: fresh });
    runTimers();
    opened[0]!.say("ready", { topics: [{ topic: "runs", fresh: false }, { topic: "run:a", fresh: true }] });
    expect(stale).toHaveBeenCalledOnce();
    expect(fresh).not.toHaveBeenCalled();
    opened[0]!.say("reset", { topics: ["run:a"] });
    expect(fresh).toHaveBeenCalledOnce();
  });

  test("another topic makes another connection that goes on after the last event", () => {
    stream.subscribe("runs", { refetch: vi.fn() });
    runTimers();
    opened[0]!.say("change", { topic: "runs" }, "7");
    stream.subscribe("machines", { refetch: vi.fn() });
    runTimers();
    expect(opened[0]!.isClosed).toBe(true);
    expect(opened[1]!.url).toBe("/api/v1/stream?topic=machines&topic=runs&last_event_id=7");
  });

  test("a closed connection is opened again, later each time, until it works", async () => {
    stream.subscribe("runs", { refetch: vi.fn() });
    runTimers();
    const waits: number[] = [];
    for (const turn of [0, 1, 2]) {
      opened[turn]!.fail(2);
      await vi.waitFor(() => expect(timers).toHaveLength(1));
      waits.push(timers[0]!.ms);
      expect(stream.connection).toBe("lost");
      runTimers();
    }
    expect(waits).toEqual([500, 1000, 2000]);
    opened[3]!.say("ready", { topics: [] });
    expect(stream.connection).toBe("open");
  });

  test("who is signed out is not connected again", async () => {
    isSignedIn = false;
    stream.subscribe("runs", { refetch: vi.fn() });
    runTimers();
    opened[0]!.fail(2);
    await vi.waitFor(() => expect(stream.connection).toBe("signed-out"));
    expect(timers).toEqual([]);
  });

  test("a hidden tab holds no connection", () => {
    stream.subscribe("runs", { refetch: vi.fn() });
    runTimers();
    stream.setHidden(true);
    runTimers();
    expect(opened[0]!.isClosed).toBe(true);
    expect(stream.connection).toBe("idle");
    stream.setHidden(false);
    runTimers();
    expect(opened).toHaveLength(2);
  });
});
