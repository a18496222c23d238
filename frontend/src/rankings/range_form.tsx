/** Chooses the range of dates: by presets, or both dates by hand. */
import { type DateWindow, PRESETS, today } from "./window";

interface Props {
  window: DateWindow;
  floor: string;
  problem: string | null;
  onWindow(window: DateWindow): void;
  onForget(): void;
}

export function RangeForm({ window, floor, problem, onWindow, onForget }: Props) {
  const last = today();
  return (
    <section class="range-form" aria-label="Range of dates">
      <fieldset class="switch">
        <legend class="sr">Presets</legend>
        {PRESETS.map((preset, index) => {
          const of = preset.of(last, floor);
          const id = `preset-${index}`;
          return (
            <span key={preset.name}>
              <input
                type="radio"
                name="preset"
                id={id}
                checked={of.start === window.start && of.end === window.end}
                onChange={() => onWindow(of)}
              />
              <label for={id}>{preset.name}</label>
            </span>
          );
        })}
      </fieldset>
      <div class="dates">
        <label>
          <span class="sr">First date, UTC</span>
          <input
            type="date"
            value={window.start}
            min={floor}
            max={last}
            onChange={(event) => onWindow({ ...window, start: event.currentTarget.value })}
          />
        </label>
        <span aria-hidden="true">to</span>
        <label>
          <span class="sr">Last date, UTC</span>
          <input
            type="date"
            value={window.end}
            min={floor}
            max={last}
            onChange={(event) => onWindow({ ...window, end: event.currentTarget.value })}
          />
        </label>
      </div>
      <button type="button" class="button forget" onClick={onForget}>
        Forget the key
      </button>
      {problem && (
        <p class="error" role="alert">
          {problem}
        </p>
      )}
    </section>
  );
}
