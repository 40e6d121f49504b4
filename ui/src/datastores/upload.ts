/** A small folder of this computer becomes a datastore version, as `grid datastore create` makes one. */
import { post, put, putBytes, remove } from "@/api/client";
import { bytes, count } from "@/format/numbers";

/** More than this the command line sends faster, and it goes on after an interruption. */
const MOST_FILES = 4000;
const MOST_BYTES = 1 << 30;

/** A content is sent in parts of so many bytes. */
const PART = 8 << 20;

export interface Chosen {
  path: string;
  file: File;
}

interface Digested extends Chosen {
  sha256: string;
}

/** Browsers compute digests only for pages of this computer, or over https. */
export const canUpload = () => globalThis.crypto?.subtle !== undefined;

/** What was chosen, by path: that of a folder's files begins below the folder. */
export function chosenOf(files: Iterable<File>): Chosen[] {
  const chosen = Array.from(files, (file) => ({ path: file.webkitRelativePath.split("/").slice(1).join("/") || file.name, file }));
  return chosen.sort((a, b) => byCodePoints(a.path, b.path));
}

/** What speaks against sending these from a browser; null when nothing does. */
export function objectionTo(chosen: Chosen[]): string | null {
  const size = sizeOf(chosen);
  if (chosen.length <= MOST_FILES && size <= MOST_BYTES) return null;
  return `These are ${count(chosen.length)} files of ${bytes(size)}; a browser sends at most ${count(MOST_FILES)} of ${bytes(MOST_BYTES)}.`;
}

export function sizeOf(chosen: Chosen[]): number {
  return chosen.reduce((sum, { file }) => sum + file.size, 0);
}

/** Make the next version of a datastore; `progress` is told the bytes that were read or sent, each file's twice. Nothing is left of one that fails. */
export async function upload(name: string, source: string, chosen: Chosen[], progress: (bytes: number) => void, signal: AbortSignal) {
  const { version, round } = await post("datastores", { body: { name, source, upload: null, refers: false }, signal });
  const path = { name, version };
  try {
    const files: Digested[] = [];
    for (const each of chosen) {
      signal.throwIfAborted();
      files.push({ ...each, sha256: await sha256(await each.file.arrayBuffer()) });
      progress(each.file.size);
    }
    const offered = files.map(({ path, file, sha256 }, position) => ({ position, path, size: file.size, sha256, executable: false, in_tree: false }));
    const offer = async () => (await put("datastores/{name}/{version}/files", { path, body: { round, files: offered }, signal })).wanted;
    const wanted = new Set(await offer());
    for (const { file, sha256 } of files) {
      if (wanted.delete(sha256)) await send(path, sha256, file, progress, signal);
      else progress(file.size);
    }
    if ((await offer()).length > 0) throw new Error("A file has changed while it was sent.");
    const whole = new TextEncoder().encode(files.map(({ path, file, sha256 }) => `${path}\0${file.size}\0${sha256}\n`).join(""));
    const sent = { round, digest: await sha256(whole), files: files.length, size: sizeOf(files) };
    return await put("datastores/{name}/{version}/finish", { path, body: sent, signal });
  } catch (error) {
    await remove("datastores/{name}/{version}", { path }).catch(() => undefined); // what went wrong first is what is told
    throw error;
  }
}

async function send(path: { name: string; version: number }, digest: string, file: File, progress: (bytes: number) => void, signal: AbortSignal) {
  let offset = 0;
  do {
    const part = file.slice(offset, offset + PART);
    const { size } = await putBytes("datastores/{name}/{version}/contents/{digest}", part, { path: { ...path, digest }, query: { offset, size: file.size }, signal });
    progress(size - offset);
    offset = size;
  } while (offset < file.size);
}

async function sha256(content: BufferSource): Promise<string> {
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The order of paths that the server has; that of JavaScript's strings differs beyond the first 65,536 characters. */
function byCodePoints(a: string, b: string): number {
  const left = Array.from(a);
  const right = Array.from(b);
  for (let i = 0; i < Math.min(left.length, right.length); i += 1) {
    const difference = (left[i]?.codePointAt(0) ?? 0) - (right[i]?.codePointAt(0) ?? 0);
    if (difference !== 0) return difference;
  }
  return left.length - right.length;
}
