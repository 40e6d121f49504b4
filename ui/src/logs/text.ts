/** A log line as text: terminals' colours taken out, of a redrawn progress bar what was drawn last. */

const ESCAPES = /\u001b(?:\[[0-9;?]*[A-Za-z]|\][^\u0007]*\u0007|[@-Z\\-_])/g;

export function plainText(text: string): string {
  const clean = text.includes("\u001b") ? text.replace(ESCAPES, "") : text;
  if (!clean.includes("\r")) return clean;
  return clean.replace(/\r+$/, "").split("\r").at(-1) ?? "";
}
