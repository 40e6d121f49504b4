import { expect, test } from "vitest";
import { plainText } from "./text";

test("colours are taken out, and of a progress bar the last drawing is left", () => {
  expect(plainText("\u001b[1;31mError\u001b[0m: x")).toBe("Error: x");
  expect(plainText("10%\r50%\r100%\r")).toBe("100%");
  expect(plainText("plain [0m text")).toBe("plain [0m text");
});
