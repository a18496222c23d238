/** The range of dates that the reader chose: presets, what is wrong with it, and its place in the page's URL. Dates are UTC. */
import { now } from "../page/clock";
import { addDays } from "./days";

export interface DateWindow {
  start: string;
  end: string;
}

export interface Preset {
  name: string;
  of(today: string, floor: string): DateWindow;
}

function lastDays(count: number): Preset["of"] {
  return (today) => ({ start: addDays(today, -count), end: addDays(today, -1) });
}

/** Whole days: the one that runs is left out. */
export const PRESETS: readonly Preset[] = [
  { name: "7 days", of: lastDays(7) },
  { name: "30 days", of: lastDays(30) },
  { name: "90 days", of: lastDays(90) },
  { name: "This year", of: (today) => ({ start: `${today.slice(0, 4)}-01-01`, end: today }) },
  { name: "All", of: (today, floor) => ({ start: floor, end: today }) },
];

export function today(): string {
  return new Date(now()).toISOString().slice(0, 10);
}

/** What is wrong with the range, in words; null: nothing. */
export function windowProblem({ start, end }: DateWindow, floor: string): string | null {
  if (!start || !end) return "Give both dates.";
  if (start > end) return "The first date is after the last one. Swap them.";
  if (end < floor) return `The dataset begins on ${floor}. Choose a later last date.`;
  return null;
}

function isDate(text: string): boolean {
  const instant = new Date(`${text}T00:00:00Z`);
  return !Number.isNaN(instant.getTime()) && instant.toISOString().slice(0, 10) === text;
}

/** The range that the URL names; 30 days if it names none. */
export function readWindow(search: string): DateWindow {
  const given = new URLSearchParams(search);
  const start = given.get("start_date") ?? "";
  const end = given.get("end_date") ?? "";
  return isDate(start) && isDate(end) ? { start, end } : lastDays(30)(today(), "");
}

export function windowSearch({ start, end }: DateWindow): string {
  return `?${new URLSearchParams({ start_date: start, end_date: end })}`;
}
