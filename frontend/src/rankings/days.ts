/** The rows of the dataset by day: places, shares, changes of place, and the series of the chart. Pure. */
import { stack } from "d3-shape";
import type { RankingsDailyQuery } from "../generated/graphql";

export type Rankings = NonNullable<RankingsDailyQuery["rankingsDaily"]>;

export const OTHER = "other";

export interface Entry {
  permaslug: string;
  tokens: bigint;
  /** 1 for the most tokens of the day; null for the models outside the day's 50. */
  rank: number | null;
  /** Places won since the day before, lost if below 0; "new" if it was not among that day's 50; null if that day is not there. */
  change: number | "new" | null;
}

export interface Day {
  date: string;
  total: bigint;
  entries: Entry[];
}

export interface Series {
  permaslug: string;
  /** Tokens a day, in the order of the dates. */
  tokens: bigint[];
  total: bigint;
  /** Where its band of each day begins and ends, in tokens. */
  bands: (readonly [number, number])[];
}

export interface Chart {
  dates: string[];
  /** The most tokens first, the sum of all others last. */
  series: Series[];
  /** The highest day, in tokens. */
  highest: number;
}

const DAY = 86_400_000;

export function addDays(date: string, days: number): string {
  return new Date(Date.parse(date) + days * DAY).toISOString().slice(0, 10);
}

/** Every date of a window, ascending. */
export function datesBetween(first: string, last: string): string[] {
  const count = Math.round((Date.parse(last) - Date.parse(first)) / DAY) + 1;
  return Array.from({ length: Math.max(count, 0) }, (_, index) => addDays(first, index));
}

/** The days that have traffic, ascending; the rows are in the dataset's order, which is the order of places. */
export function readDays(rows: Rankings["data"]): Day[] {
  const days: Day[] = [];
  let before = new Map<string, number>();
  let places = new Map<string, number>();
  for (const row of rows) {
    let day = days.at(-1);
    if (day?.date !== row.date) {
      const isNext = day !== undefined && addDays(day.date, 1) === row.date;
      before = isNext ? places : new Map();
      places = new Map();
      day = { date: row.date, total: 0n, entries: [] };
      days.push(day);
    }
    const tokens = BigInt(row.total_tokens);
    day.total += tokens;
    if (row.model_permaslug === OTHER) {
      day.entries.push({ permaslug: OTHER, tokens, rank: null, change: null });
      continue;
    }
    const rank = places.size + 1;
    const was = before.get(row.model_permaslug);
    places.set(row.model_permaslug, rank);
    const change = before.size === 0 ? null : was === undefined ? "new" : was - rank;
    day.entries.push({ permaslug: row.model_permaslug, tokens, rank, change });
  }
  return days;
}

/** The chart of the window: its `most` first models by the sum of all days, and everything else as one series. */
export function readChart(days: Day[], dates: string[], most: number): Chart {
  const sums = new Map<string, bigint>();
  for (const { entries } of days) for (const { permaslug, tokens } of entries) sums.set(permaslug, (sums.get(permaslug) ?? 0n) + tokens);
  sums.delete(OTHER);
  const byTokens = [...sums].sort(([a, of], [b, than]) => (of === than ? (a < b ? -1 : 1) : of > than ? -1 : 1));
  const named = byTokens.slice(0, most).map(([permaslug]) => permaslug);
  const keys = [...named, OTHER];
  const places = new Map(dates.map((date, index) => [date, index]));
  const tokens = new Map(keys.map((key) => [key, dates.map(() => 0n)]));
  for (const day of days) {
    const place = places.get(day.date);
    if (place === undefined) continue;
    for (const entry of day.entries) {
      const column = tokens.get(tokens.has(entry.permaslug) ? entry.permaslug : OTHER);
      if (column) column[place] = (column[place] ?? 0n) + entry.tokens;
    }
  }
  const stacked = stack<unknown, number, string>()
    .keys(keys)
    .value((place, key) => Number(tokens.get(key)?.[place] ?? 0n))(dates.map((_, index) => index));
  const series = stacked.map((bands) => {
    const column = tokens.get(bands.key) ?? [];
    return {
      permaslug: bands.key,
      tokens: column,
      total: column.reduce((sum, value) => sum + value, 0n),
      bands: bands.map(([from, to]) => [from, to] as const),
    };
  });
  const shown = series.filter(({ total }) => total > 0n);
  return { dates, series: shown, highest: Math.max(0, ...(series.at(-1)?.bands ?? []).map(([, to]) => to)) };
}
