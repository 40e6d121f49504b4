/** What the server refuses, and that it may not answer at all. */
import type { Problem } from "./types";

/** The server answered with an error. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly problem: Problem,
  ) {
    super(problem.message);
    this.name = "Refusal";
  }
}

/** No server answered. */
export class Unreachable extends Error {
  constructor() {
    super("The server does not answer.");
    this.name = "Unreachable";
  }
}

export function isSignedOut(error: unknown): boolean {
  return error instanceof Refusal && error.status === 401;
}

export function isMissing(error: unknown): boolean {
  return error instanceof Refusal && error.status === 404;
}

/** Whatever was thrown, as what happened and what to do next. */
export function problemOf(error: unknown): Problem {
  if (error instanceof Refusal) return error.problem;
  if (error instanceof Unreachable) {
    return { code: "unreachable", message: error.message, hint: "This page goes on by itself as soon as it does.", field: null };
  }
  return { code: "failed", message: error instanceof Error ? error.message : String(error), hint: null, field: null };
}

/** Read the body of a failed answer. */
export async function refusalOf(response: Response): Promise<Refusal> {
  const fallback: Problem = { code: "http_error", message: `The server answered HTTP ${response.status}.`, hint: null, field: null };
  try {
    const body = (await response.json()) as { error?: Problem };
    return new Refusal(response.status, body.error ?? fallback);
  } catch {
    return new Refusal(response.status, fallback);
  }
}
