/** The one way to the server: typed paths, errors as exceptions. */
import { refusalOf, Unreachable } from "./errors";

type Query = Record<string, string | number | boolean | null | undefined | readonly string[]>;

/** Make a path of the API from its parts, each of them escaped. */
export function path(...parts: (string | number)[]): string {
  return parts.map((part) => encodeURIComponent(part)).join("/");
}

export function url(route: string, query: Query = {}): string {
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) {
    if (value === null || value === undefined || value === "") continue;
    if (Array.isArray(value)) for (const item of value as string[]) search.append(key, item);
    else search.append(key, String(value));
  }
  const text = search.toString();
  return `/api/v1/${route}${text ? `?${text}` : ""}`;
}

async function send(route: string, init: RequestInit): Promise<Response> {
  let response: Response;
  try {
    response = await fetch(route, { credentials: "same-origin", ...init });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  if (!response.ok) throw await refusalOf(response);
  return response;
}

export async function get<T>(route: string, query: Query = {}, signal?: AbortSignal): Promise<T> {
  return (await (await send(url(route, query), { signal })).json()) as T;
}

export async function getText(route: string, query: Query = {}, signal?: AbortSignal): Promise<string> {
  return await (await send(url(route, query), { signal })).text();
}

export async function post<T>(route: string, body: unknown, signal?: AbortSignal): Promise<T> {
  const init = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body), signal };
  return (await (await send(url(route), init)).json()) as T;
}

export async function remove(route: string): Promise<void> {
  await send(url(route), { method: "DELETE" });
}
