/** Says why there are no rows, and what to do. */
import { useEffect, useState } from "preact/hooks";
import { durationInWords } from "../page/clock";

interface Props {
  outcome: { kind: string; seconds?: number; message?: string; status?: number };
  onAgain(): void;
}

export function Notice({ outcome, onAgain }: Props) {
  const [left, setLeft] = useState(outcome.seconds ?? 0);
  useEffect(() => {
    setLeft(outcome.seconds ?? 0);
    if (!outcome.seconds) return;
    const until = Date.now() + outcome.seconds * 1000;
    const timer = setInterval(() => setLeft(Math.max(0, Math.ceil((until - Date.now()) / 1000))), 500);
    return () => clearInterval(timer);
  }, [outcome]);
  const [title, text] = words(outcome);
  return (
    <section class="card notice">
      <div role="alert">
        <h2>{title}</h2>
        <p>{text}</p>
      </div>
      <button type="button" class="button" disabled={left > 0} onClick={onAgain}>
        {left > 0 ? `Try again in ${durationInWords(left)}` : "Try again"}
      </button>
    </section>
  );
}

function words({ kind, seconds, message, status }: Props["outcome"]): [string, string] {
  switch (kind) {
    case "limited":
      return [
        "Rate limit exceeded",
        `The limits are 30 requests per minute and key, and 500 per UTC day and account. The next request is possible in ${durationInWords(seconds ?? 60)}.`,
      ];
    case "refused":
      return ["The gateway refuses this range", `It says: ${message}. Choose other dates.`];
    case "failed":
      return ["The gateway answers with an error", `Status ${status}. Your key and range are not lost: try again in a moment.`];
    default:
      return [
        "The gateway cannot be reached",
        "Check that it is running and that you are connected, then try again. Your key and range are not lost.",
      ];
  }
}
