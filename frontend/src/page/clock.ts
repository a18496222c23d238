/** The gateway's time, whatever the reader's machine says; and durations in words. */

let ahead = 0;

/** Milliseconds since 1970, by the gateway's clock as far as it is known. */
export function now(): number {
  return Date.now() + ahead;
}

/** Take the gateway's time from an answer that it has just given. `asked`: when, by this machine's `Date.now()`. */
export function setClockBy(answer: Response, asked: number): void {
  const date = Date.parse(answer.headers.get("date") ?? "");
  const arrived = Date.now();
  // The header has whole seconds, and may be as old as the answer was long under way: a difference no greater than that says nothing.
  const unsure = 2000 + (arrived - asked);
  if (!Number.isNaN(date)) ahead = Math.abs(date - arrived) < unsure ? 0 : date - arrived;
}

/** `40 seconds`, `3 minutes`, `2 hours`, `5 days`. */
export function durationInWords(seconds: number): string {
  const steps: [number, string][] = [
    [86_400, "day"],
    [3600, "hour"],
    [60, "minute"],
  ];
  for (const [size, name] of steps) {
    const count = Math.floor(seconds / size);
    if (count >= 1) return count === 1 ? `1 ${name}` : `${count} ${name}s`;
  }
  const rest = Math.max(0, Math.round(seconds));
  return rest === 1 ? "1 second" : `${rest} seconds`;
}

/** `12:03:10 UTC`. */
export function timeOfDay(milliseconds: number): string {
  return `${new Date(milliseconds).toISOString().slice(11, 19)} UTC`;
}
