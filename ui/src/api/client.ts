/** The one way to the server: routes, parameters, bodies and answers as its OpenAPI document has them; errors as exceptions. */
import { refusalOf, Unreachable } from "./errors";
import type { paths } from "./schema";

type Method = "get" | "post" | "put" | "delete";

/** The routes that know a method, without the prefix that all share. */
type Route<M extends Method> = {
  [Path in keyof paths]: Path extends `/api/v1/${infer Rest}` ? (paths[Path] extends Record<M, object> ? Rest : never) : never;
}[keyof paths];

type Operation<M extends Method, R> = R extends string ? (`/api/v1/${R}` extends infer Path extends keyof paths ? paths[Path][M] : never) : never;

type Parameters<O, Place extends "path" | "query"> = O extends { parameters: { [P in Place]?: infer Values } } ? NonNullable<Values> : never;

/** The body of a route's answer. */
type Answer<M extends Method, R extends Route<M>> =
  Operation<M, R> extends { responses: infer Responses }
    ? { [Status in keyof Responses]: Status extends 200 | 201 ? Json<Responses[Status]> : never }[keyof Responses]
    : never;

type Json<Response> = Response extends { content: { "application/json": infer Body } } ? Body : never;

type Body<O> = O extends { requestBody: { content: { "application/json": infer Value } } } ? Value : undefined;

type Needed<Name extends string, Value> = [Value] extends [never] | [undefined] ? unknown : object extends Value ? { [N in Name]?: Value } : { [N in Name]: Value };

/** What a request says beside its route; what the route does not know is no option. */
type Options<M extends Method, R extends Route<M>> = Needed<"path", Parameters<Operation<M, R>, "path">> &
  Needed<"query", Parameters<Operation<M, R>, "query">> &
  (M extends "post" | "put" ? Needed<"body", Body<Operation<M, R>>> : unknown) & { signal?: AbortSignal };

type Optional<O> = object extends O ? [options?: O] : [options: O];

/** All of them, as they are sent. */
interface Said {
  path?: Record<string, string | number>;
  query?: object;
  body?: unknown;
  signal?: AbortSignal;
}

/** The address of what a browser fetches by itself: a download, an image. */
export function url<R extends Route<"get">>(route: R, ...[options]: Optional<Options<"get", R>>): string {
  return address(route, options);
}

export async function get<R extends Route<"get">>(route: R, ...[options]: Optional<Options<"get", R>>): Promise<Answer<"get", R>> {
  return (await (await send("GET", route, options)).json()) as Answer<"get", R>;
}

export async function getText<R extends Route<"get">>(route: R, ...[options]: Optional<Options<"get", R>>): Promise<string> {
  return await (await send("GET", route, options)).text();
}

export async function post<R extends Route<"post">>(route: R, ...[options]: Optional<Options<"post", R>>): Promise<Answer<"post", R>> {
  return (await (await send("POST", route, options)).json()) as Answer<"post", R>;
}

export async function put<R extends Route<"put">>(route: R, ...[options]: Optional<Options<"put", R>>): Promise<Answer<"put", R>> {
  return (await (await send("PUT", route, options)).json()) as Answer<"put", R>;
}

/** Send bytes as they are. */
export async function putBytes<R extends Route<"put">>(route: R, bytes: Blob, ...[options]: Optional<Options<"put", R>>): Promise<Answer<"put", R>> {
  return (await (await send("PUT", route, { ...options, body: bytes })).json()) as Answer<"put", R>;
}

export async function remove<R extends Route<"delete">>(route: R, ...[options]: Optional<Options<"delete", R>>): Promise<void> {
  await send("DELETE", route, options);
}

async function send(method: string, route: string, options: Said = {}): Promise<Response> {
  const content = contentOf(options.body);
  let response: Response;
  try {
    response = await fetch(address(route, options), { method, credentials: "same-origin", signal: options.signal, ...content });
  } catch (error) {
    if (error instanceof DOMException && error.name === "AbortError") throw error;
    throw new Unreachable();
  }
  if (!response.ok) throw await refusalOf(response);
  return response;
}

function contentOf(body: unknown): RequestInit {
  if (body === undefined) return {};
  if (body instanceof Blob) return { headers: { "Content-Type": "application/octet-stream" }, body };
  return { headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
}

function address(route: string, { path = {}, query = {} }: Said = {}): string {
  const filled = route.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ""));
  const search = new URLSearchParams();
  for (const [key, value] of Object.entries(query) as [string, unknown][]) {
    if (value === null || value === undefined || value === "") continue;
    for (const each of Array.isArray(value) ? value : [value]) search.append(key, String(each));
  }
  const text = search.toString();
  return `/api/v1/${filled}${text && `?${text}`}`;
}
