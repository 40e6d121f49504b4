/** Numbers as people read them. */

const GROUPED = new Intl.NumberFormat("en-US");

export function count(value: number): string {
  return GROUPED.format(value);
}

/** `1 node`, `2 nodes`. */
export function plural(value: number, one: string, many = `${one}s`): string {
  return `${count(value)} ${value === 1 ? one : many}`;
}

/** `1.4 GiB`, in steps of 1,024, as the command line says it. */
export function bytes(value: number): string {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  let rest = value;
  while (rest >= 1024 && unit < units.length - 1) {
    rest /= 1024;
    unit += 1;
  }
  return `${rest.toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}

/** `16.0 GiB` from MiB. */
export function mebibytes(value: number): string {
  return bytes(value * 1024 * 1024);
}

/** A measured value with its unit: `73 %`, `1.4 GiB`, `20.0 MiB/s`; a metric has none. */
export function withUnit(value: number, unit?: string): string {
  if (unit === "%") return `${Math.round(value)} %`;
  return unit === undefined ? metric(value) : `${bytes(value)}${unit.slice(1)}`;
}

/** `$12.85`; small sums keep their digits. */
export function dollars(value: number): string {
  if (value === 0) return "$0";
  return value < 0.1 ? `$${value.toPrecision(2)}` : `$${value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}

export function hourly(value: number): string {
  return `${dollars(value)}/h`;
}

/** A metric's value: at most five significant digits, an exponent only where it is shorter. */
export function metric(value: number | null | undefined): string {
  if (value === null || value === undefined) return "–";
  if (!Number.isFinite(value)) return String(value);
  if (Number.isInteger(value) && Math.abs(value) < 1e7) return count(value);
  const size = Math.abs(value);
  if (size !== 0 && (size < 1e-3 || size >= 1e7)) return value.toExponential(3).replace(/\.?0+e/, "e");
  return String(Number(value.toPrecision(5)));
}

/** A hyperparameter's value, as one would type it. */
export function parameter(value: unknown): string {
  if (value === undefined) return "";
  if (typeof value === "string") return value;
  if (typeof value === "number") return Number.isInteger(value) ? String(value) : metric(value);
  return JSON.stringify(value);
}
