/** Series as they come from the server: whole, or what is new. */

import type { Series, SeriesAnswer } from "@/api/types";

export type XAxis = "step" | "time" | "relative";

/** Put an answer to what is known: appended or replaced, as it says. */
export function merge(known: SeriesAnswer, answer: SeriesAnswer): SeriesAnswer {
  const kept = known.series.filter((series) => !answer.reset.includes(series.experiment));
  const byName = new Map(kept.map((series) => [key(series), series]));
  for (const news of answer.series) {
    const old = byName.get(key(news));
    byName.set(key(news), news.is_append && old !== undefined ? joined(old, news) : news);
  }
  return { series: [...byName.values()], cursors: { ...known.cursors, ...answer.cursors }, reset: [] };
}

export function xOf(series: Series, axis: XAxis): number[] {
  if (axis === "step") return series.steps;
  return axis === "time" ? series.times : series.times.map((time) => time - series.start);
}

/** The longest of the series: when it has grown far past what was asked for, it is time to ask anew. */
export function longest(answer: SeriesAnswer): number {
  return Math.max(0, ...answer.series.map((series) => series.values.length));
}

/** Where each series first has a value that is no number, such as NaN, and what: its line has a gap there. */
export function firstNotFinite(series: Series[]): { of: Series; step: number; text: string }[] {
  return series.flatMap((each) => {
    const first = each.not_finite[0];
    return first === undefined ? [] : [{ of: each, step: each.steps[first[0]]!, text: first[1] }];
  });
}

function key(series: Series): string {
  return `${series.experiment}\n${series.tag}`;
}

function joined(old: Series, news: Series): Series {
  const shift = old.values.length;
  return {
    ...old,
    total: old.total + news.total,
    steps: old.steps.concat(news.steps),
    times: old.times.concat(news.times),
    values: old.values.concat(news.values),
    not_finite: [...old.not_finite, ...news.not_finite.map(([at, text]): [number, string] => [at + shift, text])],
  };
}
