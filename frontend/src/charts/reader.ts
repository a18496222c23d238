/**
 * Makes a column chart readable by pointer, keyboard and screen reader: a slider over the plot. Its value is the number of the column; the
 * owner of the chart provides the text of a column.
 */

export interface Line {
  name: string;
  value: string;
  /** The class that fills its swatch, if it has one. */
  fill?: string;
}

export interface Reading {
  title: string;
  lines: readonly Line[];
}

export interface Readable {
  label: string;
  count(): number;
  read(index: number): Reading;
  /** What Enter or a click on a column does, if anything. */
  choose?(index: number): void;
}

const SVG = "http://www.w3.org/2000/svg";
const GAP = 8;

const STEPS: Record<string, (index: number, last: number) => number> = {
  ArrowLeft: (index) => index - 1,
  ArrowDown: (index) => index - 1,
  ArrowRight: (index) => index + 1,
  ArrowUp: (index) => index + 1,
  PageDown: (index) => index - 7,
  PageUp: (index) => index + 7,
  Home: () => 0,
  End: (_, last) => last,
};

/** Puts a reader over a plot; returns a function that removes it. */
export function attachReader(plot: HTMLElement, chart: Readable): () => void {
  const reader = element("div", "reader");
  const cursor = element("div", "cursor");
  const tip = element("div", "tip");
  cursor.hidden = tip.hidden = true;
  tip.setAttribute("aria-hidden", "true");
  reader.tabIndex = 0;
  reader.setAttribute("role", "slider");
  reader.setAttribute("aria-label", chart.label);
  reader.setAttribute("aria-valuemin", "1");
  let index = -1;

  const announce = (): void => {
    const count = chart.count();
    reader.setAttribute("aria-valuemax", String(Math.max(count, 1)));
    reader.setAttribute("aria-valuenow", String(Math.max(index + 1, 1)));
    const reading = index >= 0 && index < count ? chart.read(index) : null;
    const text = reading ? [reading.title, ...reading.lines.map(({ name, value }) => `${name} ${value}`)].join(", ") : "Use the arrow keys";
    reader.setAttribute("aria-valuetext", text);
  };

  const hide = (): void => {
    cursor.hidden = tip.hidden = true;
  };

  const show = (wanted: number): void => {
    const last = chart.count() - 1;
    if (last < 0) {
      hide();
      return;
    }
    index = Math.min(Math.max(wanted, 0), last);
    const reading = chart.read(index);
    const rows = reading.lines.map(({ name, value, fill }) => {
      const row = element("span");
      if (fill) row.append(swatch(fill));
      row.append(withText("span", name), withText("span", value));
      return row;
    });
    tip.replaceChildren(withText("b", reading.title), ...rows);
    cursor.hidden = tip.hidden = false;
    const width = 100 / (last + 1);
    cursor.style.left = `${index * width}%`;
    cursor.style.width = `${width}%`;
    place(tip, plot, { left: index * width, right: (index + 1) * width });
    announce();
  };

  const indexAt = (event: PointerEvent | MouseEvent): number => {
    const box = reader.getBoundingClientRect();
    return Math.floor(((event.clientX - box.left) / box.width) * chart.count());
  };

  reader.addEventListener("pointermove", (event) => show(indexAt(event)));
  reader.addEventListener("pointerdown", (event) => show(indexAt(event)));
  reader.addEventListener("pointerleave", () => {
    if (document.activeElement !== reader) hide();
  });
  reader.addEventListener("click", (event) => chart.choose?.(indexAt(event)));
  reader.addEventListener("focus", () => {
    if (reader.matches(":focus-visible")) show(index < 0 ? chart.count() - 1 : index);
  });
  reader.addEventListener("blur", hide);
  reader.addEventListener("keydown", (event) => {
    const last = chart.count() - 1;
    const step = STEPS[event.key];
    if (step) {
      event.preventDefault();
      show(step(index < 0 ? last : index, last));
    } else if (event.key === "Escape") hide();
    else if (event.key === "Enter" && index >= 0) chart.choose?.(index);
  });

  announce();
  plot.append(cursor, reader, tip);
  return () => {
    for (const part of [cursor, reader, tip]) part.remove();
  };
}

/** Puts the tip over a column, or next to it if it is tall and there is room, as far as it stays within the plot and its axis. */
function place(tip: HTMLElement, plot: HTMLElement, column: { left: number; right: number }): void {
  const width = tip.offsetWidth;
  const room = plot.clientWidth;
  const isTall = tip.offsetHeight > plot.clientHeight / 2;
  const [before, after] = [(room * column.left) / 100 - width - GAP, (room * column.right) / 100 + GAP];
  if (isTall && (after + width <= room || before >= -plot.offsetLeft)) {
    tip.style.left = `${after + width <= room ? after : before}px`;
    tip.style.top = "0";
    return;
  }
  const middle = (room * (column.left + column.right)) / 200 - width / 2;
  tip.style.left = `${Math.min(Math.max(middle, Math.min(0, room - width)), Math.max(room - width, 0))}px`;
  tip.style.top = `${GAP - tip.offsetHeight}px`;
}

function swatch(fill: string): SVGElement {
  const made = document.createElementNS(SVG, "svg");
  made.setAttribute("class", `swatch ${fill}`);
  made.setAttribute("width", "10");
  made.setAttribute("height", "10");
  const square = document.createElementNS(SVG, "rect");
  square.setAttribute("width", "10");
  square.setAttribute("height", "10");
  square.setAttribute("rx", "3");
  made.append(square);
  return made;
}

function element(name: string, className = ""): HTMLElement {
  const made = document.createElement(name);
  if (className) made.className = className;
  return made;
}

function withText(name: string, text: string): HTMLElement {
  const made = element(name);
  made.textContent = text;
  return made;
}
