/** Asks the documented URL for the rows, and says in which of a few ways that ended. */
import { setClockBy } from "../page/clock";
import type { Rankings } from "./days";
import { type DateWindow, windowSearch } from "./window";

export type Outcome =
  | { kind: "rows"; rankings: Rankings }
  | { kind: "wrong-key" }
  | { kind: "limited"; seconds: number }
  | { kind: "refused"; message: string }
  | { kind: "failed"; status: number }
  | { kind: "unreachable" };

export async function fetchRankings(url: string, key: string, window: DateWindow, signal: AbortSignal): Promise<Outcome> {
  const asked = Date.now();
  let answer: Response;
  try {
    answer = await fetch(url + windowSearch(window), { headers: { Authorization: `Bearer ${key}` }, cache: "no-store", signal });
  } catch (error) {
    if (signal.aborted) throw error;
    return { kind: "unreachable" };
  }
  setClockBy(answer, asked);
  if (answer.status === 401 || answer.status === 403) return { kind: "wrong-key" };
  if (answer.status === 429) return { kind: "limited", seconds: Math.max(1, Number(answer.headers.get("retry-after")) || 60) };
  try {
    if (answer.ok) return { kind: "rows", rankings: (await answer.json()) as Rankings };
    if (answer.status < 500) return { kind: "refused", message: await messageOf(answer) };
  } catch (error) {
    if (signal.aborted) throw error;
    return { kind: "unreachable" };
  }
  return { kind: "failed", status: answer.status };
}

async function messageOf(answer: Response): Promise<string> {
  const body = (await answer.json()) as { error?: { message?: string } };
  return body.error?.message ?? `status ${answer.status}`;
}
