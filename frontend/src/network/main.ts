/**
 * Makes the network page live. The server draws everything; this takes a newer drawing over when there is one, lets the counter run
 * in between, and lets the charts be read.
 */
import "../style/network.css";
import { attachReader, type Reading } from "../charts/reader";
import { durationInWords, now, timeOfDay } from "../page/clock";
import { exactNumber } from "../page/numbers";
import { startThemeButton } from "../page/theme";
import { startCounter } from "./counter";
import { Refusal, startPolling } from "./poll";

const URL = "/api/v1/analytics/network";

function start(root: HTMLElement): void {
  const period = Number(root.dataset.period) * 1000;
  const trouble = root.querySelector("[data-trouble]");
  let stopCounter = (): void => {};
  let troubledSince: number | null = null;

  const shown = (): number | null => (root.dataset.generatedAt ? Date.parse(root.dataset.generatedAt) : null);

  const runCounter = (): void => {
    stopCounter();
    const counter = root.querySelector<HTMLElement>("[data-counter]");
    const generatedAt = shown();
    if (!counter || generatedAt === null) return;
    stopCounter = startCounter(root, { tokens: Number(counter.dataset.tokens), rate: Number(counter.dataset.rate), generatedAt, period });
  };

  const showAge = (): void => {
    const generatedAt = shown();
    const age = root.querySelector("[data-age]");
    if (generatedAt === null || !age) return;
    const seconds = Math.max(0, (now() - generatedAt) / 1000);
    const isLate = seconds * 1000 > 2 * period;
    age.textContent = `, ${durationInWords(seconds)} ago${isLate ? "; the next one is late" : ""}`;
    root.querySelector("[data-dot]")?.classList.toggle("late", isLate);
  };

  const renew = async (): Promise<void> => {
    const answer = await fetch(location.pathname, { cache: "no-cache", signal: AbortSignal.timeout(20_000) });
    if (!answer.ok) throw new Refusal(answer);
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    if (page.documentElement.dataset.version !== document.documentElement.dataset.version) {
      location.reload(); // another release: its drawing may need its own script
      return;
    }
    takeOver(root, page);
    runCounter();
    showAge();
  };

  startPolling({
    url: URL,
    etag: root.dataset.etag ?? "",
    period,
    shown,
    renew,
    trouble(what) {
      troubledSince = what === null ? null : (troubledSince ?? now());
      const text =
        troubledSince === null
          ? ""
          : `${what} since ${timeOfDay(troubledSince)}. The numbers are those of the last snapshot; this page goes on trying.`;
      if (trouble && trouble.textContent !== text) trouble.textContent = text;
      showAge();
    },
  });
  runCounter();
  showAge();
  setInterval(showAge, Math.min(10_000, period));
  for (const figure of root.querySelectorAll<HTMLElement>("[data-range]")) readRange(figure);
}

/** Puts the newer drawing's parts in the place of the shown ones; what holds the focus, an open table or a choice is around them. */
function takeOver(root: HTMLElement, page: Document): void {
  const fresh = page.querySelector<HTMLElement>("#network");
  if (!fresh) throw new Error("the page has no network");
  for (const part of root.querySelectorAll<HTMLElement>("[data-live]")) {
    const drawn = fresh.querySelector(`[data-live="${part.dataset.live}"]`);
    if (drawn) part.replaceChildren(...drawn.childNodes);
  }
  root.dataset.generatedAt = fresh.dataset.generatedAt ?? "";
}

/** Lets a range's chart be read out of the table behind it. */
function readRange(figure: HTMLElement): void {
  const plot = figure.querySelector<HTMLElement>(".plot");
  const rows = figure.querySelector<HTMLTableSectionElement>("tbody");
  if (!plot || !rows) return;
  attachReader(plot, {
    label: `Values by ${figure.dataset.unit}`,
    count: () => rows.rows.length,
    read(index): Reading {
      const row = rows.rows[index];
      const [tokens, requests] = [...(row?.querySelectorAll("data") ?? [])].map((datum) => exactNumber(BigInt(datum.value)));
      const isLast = index === rows.rows.length - 1;
      return {
        title: `${row?.dataset.name ?? ""}${isLast ? ", so far" : ""}`,
        lines: [
          { name: "Tokens", value: tokens ?? "" },
          { name: "Requests", value: requests ?? "" },
        ],
      };
    },
  });
}

startThemeButton();
const root = document.getElementById("network");
if (root) start(root);
