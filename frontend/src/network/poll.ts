/**
 * Polls the public URL for a new snapshot: when one is due, with its validator, and with growing delays after failures.
 * The owner decides what a new snapshot does to the page.
 */
import type { NetworkQuery } from "../generated/graphql";
import { now, setClockBy } from "../page/clock";

type Snapshot = Pick<NonNullable<NetworkQuery["network"]>, "generated_at">;

export interface Polled {
  url: string;
  /** The validator of the answer that the page was drawn from; empty: it has none. */
  etag: string;
  /** Milliseconds from a snapshot to the next. */
  period: number;
  /** When the shown snapshot was taken, milliseconds since 1970; null before the first. */
  shown(): number | null;
  /** Shows a newer snapshot; what it throws counts as trouble. */
  renew(): Promise<void>;
  /** Says what is wrong; null: nothing any more. */
  trouble(what: string | null): void;
}

const SHORTEST = 5000;
const LONGEST_BACKOFF = 300_000;

/** An answer that is none: what to say of it, and how many milliseconds the gateway wants to be left alone. */
export class Refusal extends Error {
  readonly wait: number;

  constructor(answer: Response) {
    super(answer.status === 429 ? "Too many requests came from your address" : `The gateway answers with an error (${answer.status})`);
    this.wait = Math.max(0, Number(answer.headers.get("retry-after")) * 1000 || 0);
  }
}

/** Begins to ask at once, and goes on for as long as the page is open. */
export function startPolling(polled: Polled): void {
  const shortest = Math.min(SHORTEST, polled.period);
  let timer = 0;
  let failures = 0;
  let asking = false;
  let notBefore = 0;
  let etag = polled.etag;

  const ask = async (): Promise<void> => {
    const headers: Record<string, string> = etag === "" ? {} : { "If-None-Match": etag };
    const asked = Date.now();
    // The browser's own cache would give the same answer for ten minutes.
    const answer = await fetch(polled.url, { cache: "no-store", headers, signal: AbortSignal.timeout(20_000) });
    setClockBy(answer, asked);
    if (answer.status === 304) return;
    if (!answer.ok) throw new Refusal(answer);
    const snapshot = (await answer.json()) as Snapshot;
    const at = snapshot.generated_at === null ? null : Date.parse(snapshot.generated_at);
    if (at !== polled.shown()) await polled.renew();
    etag = answer.headers.get("etag") ?? "";
  };

  const run = async (): Promise<void> => {
    if (asking) return;
    clearTimeout(timer);
    asking = true;
    let delay: number;
    try {
      await ask();
      failures = 0;
      polled.trouble(null);
      delay = untilDue();
    } catch (error) {
      failures += 1;
      const refusal = error instanceof Refusal ? error : null;
      polled.trouble(refusal?.message ?? "The gateway cannot be reached");
      const backoff = Math.min(LONGEST_BACKOFF, shortest * 2 ** (failures - 1)) * (0.8 + 0.4 * Math.random());
      delay = Math.max(backoff, refusal?.wait ?? 0);
      notBefore = Date.now() + (refusal?.wait ?? 0);
    }
    asking = false;
    timer = window.setTimeout(again, delay);
  };

  const untilDue = (): number => {
    const shown = polled.shown();
    const late = Math.max(shortest, Math.min(30_000, polled.period / 10));
    if (shown === null) return late;
    const due = shown + polled.period - now();
    // Some seconds later, and not all readers at the same one: the snapshot takes its time, and the gateway serves everybody.
    return due > 0 ? due + shortest * (0.3 + Math.random()) : late;
  };

  const again = (): void => {
    // A page that nobody looks at asks when it is looked at again.
    if (document.visibilityState === "visible" && Date.now() >= notBefore) void run();
  };
  document.addEventListener("visibilitychange", again);
  window.addEventListener("online", again);
  void run();
}
