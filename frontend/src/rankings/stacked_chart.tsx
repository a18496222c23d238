/** The tokens of each day, stacked by model; a legend that picks one out, a reader, and the table behind it. */
import { ticks } from "d3-array";
import { useEffect, useRef, useState } from "preact/hooks";
import { attachReader, type Line } from "../charts/reader";
import { exactNumber, percent, shortNumber } from "../page/numbers";
import { type Chart, OTHER, type Series } from "./days";

const HEADROOM = 1.04;
const DENSE = 120;
const HEIGHT = 1000;
/** Part of a day that is left free on either side. */
const GAP = 0.12;

interface Props {
  chart: Chart;
  chosen: string;
  onChoose(date: string): void;
}

export function StackedChart({ chart, chosen, onChoose }: Props) {
  const [picked, setPicked] = useState<string | null>(null);
  const plot = useRef<HTMLDivElement>(null);
  useEffect(() => {
    if (!plot.current) return;
    return attachReader(plot.current, {
      label: "Values by day; Enter shows the day in the table below",
      count: () => chart.dates.length,
      choose: (index) => onChoose(chart.dates[index] ?? ""),
      read: (index) => ({ title: chart.dates[index] ?? "", lines: readColumn(chart, index) }),
    });
  }, [chart, onChoose]);
  const count = chart.dates.length;
  const scale = chart.highest * HEADROOM || 1;
  const lines = ticks(0, chart.highest, 4).filter((value) => Number.isInteger(value));
  const every = Math.max(1, Math.ceil(count / 8));
  const isDense = count > DENSE;
  return (
    <section class="card" aria-labelledby="stack-title">
      <div class="card-head">
        <div>
          <h2 id="stack-title">Tokens by day</h2>
          <p class="quiet">The {Math.min(10, chart.series.length)} models with the most tokens of the range, and all others in grey.</p>
        </div>
      </div>
      <figure>
        <figcaption class="sr">Tokens by day and model</figcaption>
        <div class="plot" ref={plot}>
          <svg
            class={`area stacked${isDense ? " dense" : ""}`}
            width="100%"
            height="100%"
            role="img"
            aria-label={`Tokens by day and model, ${chart.dates[0]} to ${chart.dates.at(-1)}. The table below has every value.`}
          >
            {lines.map((value) => (
              <line
                key={value}
                class="grid"
                x1="0"
                x2="100%"
                y1={`${100 - (100 * value) / scale}%`}
                y2={`${100 - (100 * value) / scale}%`}
              />
            ))}
            <svg aria-hidden="true" viewBox={`0 0 ${count} ${HEIGHT}`} preserveAspectRatio="none" width="100%" height="100%">
              {chart.series.map((series, index) => (
                <path
                  key={series.permaslug}
                  class={`${seriesClass(series, index)}${picked !== null && picked !== series.permaslug ? " faded" : ""}`}
                  d={bandPath(series, scale, isDense)}
                />
              ))}
            </svg>
            {lines
              .filter((value) => value > 0)
              .map((value) => (
                <text key={value} class="tick" x="-10" y={`${100 - (100 * value) / scale}%`} dy="4" text-anchor="end">
                  {shortNumber(BigInt(value))}
                </text>
              ))}
          </svg>
          <svg class="axis" width="100%" height="22" aria-hidden="true">
            {chart.dates.map((date, index) =>
              (count - 1 - index) % every === 0 ? (
                <text
                  key={date}
                  x={isAtEdge(index, count) ? "100%" : `${((index + 0.5) * 100) / count}%`}
                  y="16"
                  text-anchor={isAtEdge(index, count) ? "end" : "middle"}
                  class={((count - 1 - index) / every) % 2 ? "minor" : undefined}
                >
                  {dayName(date, count)}
                </text>
              ) : null,
            )}
          </svg>
        </div>
        <ul class="series">
          {chart.series.map((series, index) => (
            <li key={series.permaslug}>
              <button
                type="button"
                aria-pressed={picked === series.permaslug}
                onClick={() => setPicked(picked === series.permaslug ? null : series.permaslug)}
              >
                <svg class="swatch" viewBox="0 0 10 10" width="10" height="10" aria-hidden="true">
                  <rect class={seriesClass(series, index)} width="10" height="10" rx="3" />
                </svg>
                <span>{seriesName(series.permaslug)}</span>
                <span class="quiet" title={exactNumber(series.total)}>
                  {shortNumber(series.total)}
                </span>
              </button>
            </li>
          ))}
        </ul>
        <ChartTable chart={chart} chosen={chosen} />
      </figure>
    </section>
  );
}

function ChartTable({ chart, chosen }: { chart: Chart; chosen: string }) {
  const [isOpen, setOpen] = useState(false);
  return (
    <details class="behind" onToggle={(event) => setOpen(event.currentTarget.open)}>
      <summary>Table: tokens by day and model</summary>
      {isOpen && (
        // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard
        <section class="scroll" tabIndex={0} aria-label="Tokens by day and model">
          <table class="plain matrix">
            <thead>
              <tr>
                <th scope="col">Day, UTC</th>
                {chart.series.map((series) => (
                  <th scope="col" class="right" key={series.permaslug}>
                    {seriesName(series.permaslug)}
                  </th>
                ))}
              </tr>
            </thead>
            <tbody>
              {chart.dates.map((date, index) => (
                <tr key={date} class={date === chosen ? "chosen" : undefined}>
                  <th scope="row">{date}</th>
                  {chart.series.map((series) => (
                    <td class="right" key={series.permaslug}>
                      {exactNumber(series.tokens[index] ?? 0n)}
                    </td>
                  ))}
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
    </details>
  );
}

/** One path a series, in a box of one unit a day: a rectangle for each day, or one outline where days are too narrow to have gaps. */
function bandPath(series: Series, scale: number, isDense: boolean): string {
  const bands = series.bands.map(([from, to]) => ({ bottom: heightOf(from, scale), top: heightOf(to, scale) }));
  if (isDense) {
    const over = bands.map(({ top }, index) => `V${top}H${index + 1}`);
    const back = bands.map(({ bottom }, index) => `V${bottom}H${index}`).reverse();
    return `M0 ${bands[0]?.bottom ?? HEIGHT}${over.join("")}${back.join("")}Z`;
  }
  return bands
    .map(({ bottom, top }, index) => (top === bottom ? "" : `M${index + GAP} ${bottom}V${top}H${index + 1 - GAP}V${bottom}Z`))
    .join("");
}

function heightOf(tokens: number, scale: number): string {
  return (HEIGHT * (1 - tokens / scale)).toFixed(1);
}

/** What is in a column, from the top of the stack down. */
function readColumn(chart: Chart, column: number): Line[] {
  const values = chart.series
    .map((series, index) => ({ series, index, tokens: series.tokens[column] ?? 0n }))
    .filter(({ tokens }) => tokens > 0n);
  const total = values.reduce((sum, { tokens }) => sum + tokens, 0n);
  const lines = values.map(({ series, index, tokens }) => ({
    name: seriesName(series.permaslug),
    value: `${shortNumber(tokens)} · ${percent(tokens, total)}`,
    fill: seriesClass(series, index),
  }));
  return [...lines.reverse(), { name: "Together", value: shortNumber(total) }];
}

/** Whether a label in the middle of a column would reach over the right edge, on a phone. */
function isAtEdge(index: number, count: number): boolean {
  return 1 - (index + 0.5) / count < 0.06;
}

function seriesClass({ permaslug }: Series, index: number): string {
  return permaslug === OTHER ? "series-other" : `series-${index + 1}`;
}

export function seriesName(permaslug: string): string {
  return permaslug === OTHER ? "All others" : permaslug;
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function dayName(date: string, count: number): string {
  const month = MONTHS[Number(date.slice(5, 7)) - 1];
  return count > 300 ? `${month} ’${date.slice(2, 4)}` : `${Number(date.slice(8))} ${month}`;
}
