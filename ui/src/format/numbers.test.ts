import { describe, expect, test } from "vitest";
import { bytes, dollars, hourly, metric, parameter, plural } from "./numbers";

describe("numbers", () => {
  test("a size is shown as the command line shows it", () => {
    expect([0, 1023, 1024, 20_000_013, 1.5 * 2 ** 30, 2 ** 41].map(bytes)).toEqual(["0 B", "1023 B", "1.0 KiB", "19.1 MiB", "1.5 GiB", "2.0 TiB"]);
  });

  test("money that is nothing says so, and small sums keep their digits", () => {
    expect([0, 12.85, 0.0116, 1234.5].map(dollars)).toEqual(["$0", "$12.85", "$0.012", "$1,234.50"]);
    expect(hourly(25.7)).toBe("$25.70/h");
  });

  test("a metric has five significant digits, and an exponent only where it is shorter", () => {
    expect([0.123456, 12345.678, 3, 1e-5, 2.5e9].map(metric)).toEqual(["0.12346", "12346", "3", "1e-5", "2.5e+9"]);
    expect([null, undefined].map(metric)).toEqual(["–", "–"]);
  });

  test("a hyperparameter is shown as one would type it", () => {
    expect(["adam", 0.001, 64, true, [1, 2], null, undefined].map(parameter)).toEqual(["adam", "0.001", "64", "true", "[1,2]", "null", ""]);
  });

  test("one is singular", () => {
    expect([plural(1, "node"), plural(2, "node"), plural(0, "entry", "entries")]).toEqual(["1 node", "2 nodes", "0 entries"]);
  });
});
