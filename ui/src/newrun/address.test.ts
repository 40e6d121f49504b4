import { describe, expect, test } from "vitest";
import { fromAddress, toAddress } from "./address";
import { EMPTY, linkOf, parseLines, toLines } from "./fields";

describe("the form's fields", () => {
  test("are taken from an address, each as what it is", () => {
    const address = new URLSearchParams("new=1&link=https%3A%2F%2Fgithub.com%2Fa%2Fb&gpus=8&use_spot=1&environment=A%3Db%3Dc&environment=D&nonsense=1&cpus=x");
    expect(fromAddress(address)).toEqual({ link: "https://github.com/a/b", gpus: 8, use_spot: true, environment: { A: "b=c", D: "" } });
  });

  test("are written into the address where they differ from what the form began with, variables excepted", () => {
    const base = { ...EMPTY, gpus: 8, arguments: "--lr 1" };
    const form = { ...base, gpus: null, link: "https://git.example.com/a/100%25", use_spot: true, labels: { team: "x=y", a: "" }, environment: { TOKEN: "secret" } };
    const written = toAddress(form, base, new URLSearchParams("new=1&tab=logs&cpus=3"));
    expect(written.get("new")).toBe("1");
    expect(written.has("cpus") || written.has("arguments") || written.toString().includes("secret")).toBe(false);
    expect({ ...base, ...fromAddress(new URLSearchParams(written.toString())) }).toEqual({ ...form, environment: {} });
  });

  test("edited parts make a link that the server reads", () => {
    expect(linkOf({ url: "https://github.com/a/b", ref: "feature/x", path: "src/train.py" })).toBe("https://github.com/a/b#feature/x:src/train.py");
    expect(linkOf({ url: "https://github.com/a/b ", ref: "", path: "" })).toBe("https://github.com/a/b#:");
  });

  test("lines are variables; comments and empty lines are none", () => {
    expect(parseLines("A=1\n\n# no\nB=x=y\nC")).toEqual({ A: "1", B: "x=y", C: "" });
    expect(toLines({ A: "1", B: "x=y" })).toBe("A=1\nB=x=y");
  });
});
