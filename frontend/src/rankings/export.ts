/** What leaves the page: the rows as files, the request as a command, the query as a link. Pure but for the download itself. */
import type { Rankings } from "./days";
import { type DateWindow, windowSearch } from "./window";

const COLUMNS = ["date", "model_permaslug", "total_tokens"] as const;
/** As the gateway guards its own CSV: signs of full width and small form count, and so do signs behind what a spreadsheet may drop. */
const FORMULA = /^(?:[\t\r\n]|[\p{Cc}\p{Cf}\p{Z}']*[=+\-@\uff1d\uff0b\uff0d\uff20\ufe62\ufe63\ufe66\ufe6b])/u;

/** RFC 4180, its text such that no spreadsheet takes it for a formula. */
export function toCsv(rows: Rankings["data"]): string {
  const lines = rows.map((row) => COLUMNS.map((column) => cell(row[column])).join(","));
  return [COLUMNS.join(","), ...lines, ""].join("\r\n");
}

function cell(text: string): string {
  const safe = FORMULA.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}

export function toCurl(url: string, window: DateWindow): string {
  return `curl -H "Authorization: Bearer $KEY" "${location.origin}${url}${windowSearch(window)}"`;
}

/** The link that opens the same question in GraphiQL. */
export function graphiqlLink(query: string, window: DateWindow): string {
  const variables = JSON.stringify({ startDate: window.start, endDate: window.end });
  return `/graphql?${new URLSearchParams({ query, variables })}`;
}

export function download(name: string, type: string, content: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
