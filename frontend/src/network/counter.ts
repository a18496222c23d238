/**
 * The counter between two snapshots: it runs on from the snapshot's number at the pace that the server gives, which is a cautious one,
 * until the next snapshot is due or the UTC day ends, since the 30 days then move on. Of an old snapshot it shows the number itself.
 */
import { now } from "../page/clock";
import { exactNumber } from "../page/numbers";

export interface Course {
  tokens: number;
  /** Tokens a second. */
  rate: number;
  /** Milliseconds since 1970. */
  generatedAt: number;
  /** Milliseconds from a snapshot to the next. */
  period: number;
}

const DAY = 86_400_000;
const TICK = 100;

/** What the counter shows at an instant. */
export function estimate(course: Course, at: number): number {
  const { tokens, rate, generatedAt, period } = course;
  if (!isRunning(course, at)) return tokens;
  const end = Math.min(generatedAt + period, (Math.floor((generatedAt - 1) / DAY) + 1) * DAY);
  const seconds = Math.max(0, Math.min(at, end) - generatedAt) / 1000;
  return tokens + Math.floor(rate * seconds);
}

/** Whether there is something to estimate: a pace, and a snapshot that is not old. */
export function isRunning({ tokens, rate, generatedAt, period }: Course, at: number): boolean {
  return rate > 0 && Number.isSafeInteger(tokens) && at < generatedAt + 2 * period;
}

/** Lets the counter of the page run; returns what stops it. */
export function startCounter(root: HTMLElement, course: Course): () => void {
  const digits = root.querySelector<HTMLElement>("[data-digits]");
  const note = root.querySelector<HTMLElement>("[data-estimate]");
  const exact = root.querySelector<HTMLElement>("[data-exact]");
  const stillness = matchMedia("(prefers-reduced-motion: reduce)");
  if (!digits || !note || !exact) return () => {};
  exact.textContent = exactNumber(course.tokens);
  let timer = 0;
  let frame = 0;

  const tick = (): void => {
    const at = now();
    const running = isRunning(course, at) && !stillness.matches;
    note.hidden = !running;
    digits.textContent = exactNumber(running ? estimate(course, at) : course.tokens);
    // Through a frame, so that a page that nobody looks at does nothing.
    timer = window.setTimeout(
      () => {
        frame = requestAnimationFrame(tick);
      },
      running ? TICK : 10 * TICK,
    );
  };
  tick();
  return () => {
    clearTimeout(timer);
    cancelAnimationFrame(frame);
  };
}
