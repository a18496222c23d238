/** The rankings page: a key, a range, and what the dataset says of them. */
import { useCallback, useEffect, useMemo, useState } from "preact/hooks";
import { keepKey, readKey } from "../page/key";
import { DayTable } from "./day_table";
import { datesBetween, readChart, readDays } from "./days";
import { Downloads } from "./downloads";
import { fetchRankings, type Outcome } from "./fetch";
import { KeyForm } from "./key_form";
import { Notice } from "./notice";
import { RangeForm } from "./range_form";
import { StackedChart } from "./stacked_chart";
import { type DateWindow, readWindow, windowProblem, windowSearch } from "./window";

const SERIES = 10;

export interface Source {
  url: string;
  /** The dataset's first date. */
  floor: string;
  query: string;
}

type State = Outcome | { kind: "no-key" } | { kind: "loading" };

export function App({ source }: { source: Source }) {
  // A new object each time the reader asks, so that the same question can be asked again.
  const [caller, setCaller] = useState(() => ({ key: readKey() }));
  const [window, setWindow] = useState(() => readWindow(location.search));
  const [state, setState] = useState<State>({ kind: caller.key ? "loading" : "no-key" });
  const [isBusy, setBusy] = useState(false);
  const problem = windowProblem(window, source.floor);

  useEffect(() => {
    const { key } = caller;
    if (!key || problem) return;
    const given = new AbortController();
    setBusy(true);
    setState((before) => (before.kind === "rows" ? before : { kind: "loading" }));
    fetchRankings(source.url, key, window, given.signal).then(
      (outcome) => {
        setBusy(false);
        keepKey(outcome.kind === "wrong-key" ? "" : key);
        setState(outcome);
      },
      () => {}, // given up: there is a newer question
    );
    return () => given.abort();
  }, [caller, window, problem, source.url]);

  const takeKey = useCallback((given: string) => {
    setCaller({ key: given });
    if (!given) {
      keepKey("");
      setState({ kind: "no-key" });
    }
  }, []);

  const chooseWindow = useCallback((chosen: DateWindow) => {
    history.replaceState(null, "", windowSearch(chosen));
    setWindow(chosen);
  }, []);

  const isOpen = state.kind !== "no-key" && state.kind !== "wrong-key";
  return (
    <div class="rankings">
      {!isOpen && <KeyForm isWrong={state.kind === "wrong-key"} onKey={takeKey} />}
      {isOpen && <RangeForm window={window} floor={source.floor} problem={problem} onWindow={chooseWindow} onForget={() => takeKey("")} />}
      <div role="status" class="sr">
        {isBusy ? "Loading" : state.kind === "rows" ? `${state.rankings.data.length} rows` : ""}
      </div>
      {isOpen && !problem && (
        <div class="answer" aria-busy={isBusy}>
          <Answer state={state} source={source} window={window} onAgain={() => setCaller({ ...caller })} />
        </div>
      )}
    </div>
  );
}

interface AnswerProps {
  state: State;
  source: Source;
  window: DateWindow;
  onAgain(): void;
}

function Answer({ state, source, window, onAgain }: AnswerProps) {
  const rankings = state.kind === "rows" ? state.rankings : null;
  const shown = useMemo(() => {
    if (!rankings) return null;
    const days = readDays(rankings.data);
    return { days, chart: readChart(days, datesBetween(rankings.meta.start_date, rankings.meta.end_date), SERIES) };
  }, [rankings]);
  const [chosen, setChosen] = useState("");
  if (state.kind === "loading") return <div class="card loading" aria-hidden="true" />;
  if (!rankings || !shown) return <Notice outcome={state} onAgain={onAgain} />;
  const day = shown.days.find(({ date }) => date === chosen) ?? shown.days.at(-1);
  if (!day) {
    return (
      <p class="empty">
        No model has used a token from {rankings.meta.start_date} to {rankings.meta.end_date}. Choose an earlier or a longer range, or send
        usage records to <code>POST /v1/ingest/usage</code>.
      </p>
    );
  }
  return (
    <>
      <StackedChart chart={shown.chart} chosen={day.date} onChoose={setChosen} />
      <DayTable days={shown.days} day={day} onChoose={setChosen} />
      <Downloads rankings={rankings} source={source} window={window} />
    </>
  );
}
