/** The places of one day, how they changed since the day before, and each model's share. */
import { useState } from "preact/hooks";
import { exactNumber, percent, shortNumber } from "../page/numbers";
import type { Day, Entry } from "./days";
import { seriesName } from "./stacked_chart";

const FIRST = 20;

interface Props {
  days: Day[];
  day: Day;
  onChoose(date: string): void;
}

export function DayTable({ days, day, onChoose }: Props) {
  const place = days.indexOf(day);
  const [isWhole, setWhole] = useState(false);
  const shown = isWhole ? day.entries : day.entries.slice(0, FIRST);
  const left = day.entries.length - shown.length;
  let highest = 0n;
  for (const { tokens } of day.entries) if (tokens > highest) highest = tokens;
  const step = (by: number) => () => onChoose(days[place + by]?.date ?? day.date);
  return (
    <section class="card" aria-labelledby="day-title">
      <div class="card-head">
        <div>
          <h2 id="day-title">Places of {day.date}</h2>
          <p class="quiet">
            {exactNumber(day.total)} tokens in all. Changes are against the day before; the first 50 have places, the rest is one row.
          </p>
        </div>
        <div class="day-choice">
          <button type="button" class="button" aria-label="The day before" disabled={place === 0} onClick={step(-1)}>
            ←
          </button>
          <label>
            <span class="sr">Day, UTC</span>
            <select value={day.date} onChange={(event) => onChoose(event.currentTarget.value)}>
              {[...days].reverse().map(({ date }) => (
                <option key={date} value={date}>
                  {date}
                </option>
              ))}
            </select>
          </label>
          <button type="button" class="button" aria-label="The day after" disabled={place === days.length - 1} onClick={step(1)}>
            →
          </button>
        </div>
      </div>
      <table class="places">
        <caption class="sr">Models by tokens of {day.date}</caption>
        <thead>
          <tr>
            <th scope="col">#</th>
            <th scope="col">
              <span class="sr">Change since the day before</span>
            </th>
            <th scope="col">Model</th>
            <th scope="col" class="burnt">
              <span class="sr">Bar</span>
            </th>
            <th scope="col" class="right">
              Tokens
            </th>
            <th scope="col" class="right">
              Share
            </th>
          </tr>
        </thead>
        <tbody>
          {shown.map((entry) => (
            <tr key={entry.permaslug} class={entry.rank === null ? "rest" : undefined}>
              <td class="rank">{entry.rank}</td>
              <td class="change">{entry.rank !== null && <Change change={entry.change} />}</td>
              <th scope="row">
                {seriesName(entry.permaslug)
                  .split("/")
                  .flatMap((part, index) => (index ? ["/", <wbr key={part} />, part] : [part]))}
              </th>
              <td class="burnt">
                <svg class="bar" width="100%" height="8" aria-hidden="true">
                  <rect class="track" width="100%" height="8" rx="4" />
                  <rect class="burnt-bar" width={`${partOf(entry.tokens, highest)}%`} height="8" rx="4" />
                </svg>
              </td>
              <td class="right tokens">
                <data value={entry.tokens.toString()} title={exactNumber(entry.tokens)}>
                  <span aria-hidden="true">{shortNumber(entry.tokens)}</span>
                  <span class="sr">{exactNumber(entry.tokens)}</span>
                </data>
              </td>
              <td class="right share">{percent(entry.tokens, day.total, 2)}</td>
            </tr>
          ))}
        </tbody>
      </table>
      {left > 0 && (
        <button type="button" class="button whole" onClick={() => setWhole(true)}>
          Show {left} more
        </button>
      )}
    </section>
  );
}

function Change({ change }: { change: Entry["change"] }) {
  if (change === null) return <span title="The day before has no rows here">–</span>;
  if (change === "new") return <span class="new">new</span>;
  if (change === 0)
    return (
      <span>
        <span aria-hidden="true">=</span>
        <span class="sr">same place</span>
      </span>
    );
  const places = Math.abs(change);
  return (
    <span class={change > 0 ? "up" : "down"}>
      <span aria-hidden="true">
        {change > 0 ? "▲" : "▼"} {places}
      </span>
      <span class="sr">
        {change > 0 ? "up" : "down"} {places} {places === 1 ? "place" : "places"}
      </span>
    </span>
  );
}

function partOf(tokens: bigint, highest: bigint): number {
  return highest === 0n ? 0 : Number((tokens * 100_000n) / highest) / 1000;
}
