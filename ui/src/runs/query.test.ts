import { expect, test } from "vitest";
import { isFiltered, parseQuery, toRequest, withQuery } from "./query";

test("a question is written to the address and read back, and what is as usual is left out", () => {
  const address = withQuery(new URLSearchParams("new=1"), { search: "otter", state: ["failed", "running"], sorting: { key: "run", descending: false } });
  expect(address.toString()).toBe("new=1&search=otter&state=failed&state=running&sort=run");
  expect(parseQuery(address)).toMatchObject({ search: "otter", state: ["failed", "running"], sorting: { key: "run", descending: false } });
  expect(withQuery(address, { search: "", state: [], sorting: { key: "created_at", descending: true } }).toString()).toBe("new=1");
});

test("the newest runs come first until something else is asked for", () => {
  const query = parseQuery(new URLSearchParams());
  expect(toRequest(query).sort).toBe("-created_at");
  expect(isFiltered(query)).toBe(false);
});
