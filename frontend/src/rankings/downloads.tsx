/** The ways out of the page: files, the documented URL, the query in GraphiQL. */
import { useState } from "preact/hooks";
import type { Source } from "./app";
import type { Rankings } from "./days";
import { download, graphiqlLink, toCsv, toCurl } from "./export";
import type { DateWindow } from "./window";

interface Props {
  rankings: Rankings;
  source: Source;
  window: DateWindow;
}

export function Downloads({ rankings, source, window }: Props) {
  const [copied, setCopied] = useState("");
  const name = `rankings-daily-${rankings.meta.start_date}-to-${rankings.meta.end_date}`;
  const command = toCurl(source.url, window);
  const copy = async (): Promise<void> => {
    try {
      await navigator.clipboard.writeText(command);
      setCopied("Copied");
    } catch {
      setCopied("Copying is not allowed here: mark the command and copy it by hand");
    }
  };
  return (
    <section class="card downloads" aria-labelledby="out-title">
      <h2 id="out-title">Take it with you</h2>
      <p class="quiet">
        {rankings.data.length} rows, as of <time dateTime={rankings.meta.as_of}>{rankings.meta.as_of}</time>. The page has them from the
        documented URL, with your key.
      </p>
      <div class="buttons">
        <button type="button" class="button" onClick={() => download(`${name}.csv`, "text/csv", toCsv(rankings.data))}>
          CSV
        </button>
        <button type="button" class="button" onClick={() => download(`${name}.json`, "application/json", JSON.stringify(rankings))}>
          JSON
        </button>
        {source.query && (
          <a class="button" href={graphiqlLink(source.query, window)}>
            Open the query in GraphiQL
          </a>
        )}
        <a class="button" href="/docs">
          API
        </a>
      </div>
      <div class="command">
        <code>{command}</code>
        <button type="button" class="button" onClick={() => void copy()}>
          Copy
        </button>
      </div>
      <p role="status" class="quiet">
        {copied}
      </p>
    </section>
  );
}
