import { describe, expect, test } from "vitest";
import { metricOf, neededMetrics, parseTable, shownColumns, tableRequest, withTable } from "./tableQuery";

describe("the table's question", () => {
  test("is read from the address and written back the same", () => {
    const address = new URLSearchParams("tab=experiments&search=exp1&state=failed&sort=-metric%3Aval%2Floss&col=param%3Alr&draw=0%2C2&best=acc");
    const query = parseTable(address);
    expect(query.drawn).toEqual([0, 2]);
    expect(withTable(address, {}).toString()).toBe(address.toString());
  });

  test("no column and no drawn experiment is something else than nothing said", () => {
    const bare = withTable(new URLSearchParams(), { columns: [], drawn: [] });
    expect(parseTable(bare).columns).toEqual([]);
    expect(parseTable(bare).drawn).toEqual([]);
    expect(parseTable(new URLSearchParams()).columns).toBeNull();
  });

  test("asks the server to filter and sort", () => {
    const query = parseTable(new URLSearchParams("state=failed&sort=-param%3Alr"));
    expect(tableRequest(query)).toEqual({ search: "", filter: ["state=failed"], sort: "param:lr", order: "desc" });
  });

  test("columns are the hyperparameters and the first metrics until others are chosen", () => {
    const known = { params: ["lr"], metrics: ["a", "b", "c", "d"].map((tag) => ({ tag, goal: "min" as const })) };
    expect(shownColumns(null, known)).toEqual(["param:lr", "metric:a", "metric:b", "metric:c"]);
    expect(shownColumns([], known)).toEqual([]);
  });

  test("asks for the metrics that are shown, each once", () => {
    const query = parseTable(new URLSearchParams("col=param%3Alr&col=metric%3Aloss&col=metric%3Aloss%3Alast"));
    expect(neededMetrics(query)).toEqual(["loss"]);
    expect(neededMetrics(parseTable(new URLSearchParams()))).toEqual([]);
  });

  test("a metric's name may hold what separates", () => {
    expect(metricOf("metric:val/loss:last")).toEqual({ tag: "val/loss", which: "last" });
    expect(metricOf("metric:a:b")).toEqual({ tag: "a:b", which: "best" });
  });
});
