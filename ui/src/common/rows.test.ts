import { expect, test } from "vitest";
import { flights, rowsAt } from "./rows";

test("the rows in view are those of which a pixel shows, and some on both sides", () => {
  expect(rowsAt(0, 100, 20, 0)).toEqual({ first: 0, last: 4 });
  expect(rowsAt(10, 100, 20, 0)).toEqual({ first: 0, last: 5 });
  expect(rowsAt(1000, 100, 20, 3)).toEqual({ first: 47, last: 57 });
  expect(rowsAt(-30, 100, 20, 3)).toEqual({ first: 0, last: 7 });
});

test("rows fly by while nothing stays from one drawing to the next", () => {
  const at = (first: number) => ({ first, last: first + 9 });
  expect(flights(0, at(0), at(5))).toBe(0);
  expect(flights(0, at(0), at(10))).toBe(1);
  expect(flights(1, at(50), at(20))).toBe(2);
  expect(flights(2, at(20), at(22))).toBe(0);
});
