/** @jsxImportSource react */
/** A panel of GraphiQL: every saved example with what it answers and who may ask, opened as a tab by a click. */
import { type GraphiQLPlugin, pick, useGraphiQL, useGraphiQLActions } from "@graphiql/react";
import { useState } from "react";
import { type Example, readExamples } from "./examples";

export const NARROW = "(max-width: 760px)";

function Icon() {
  return (
    <svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor" strokeWidth="1.5" aria-hidden="true">
      <path d="M4 5.5A1.5 1.5 0 0 1 5.5 4H10l2 2.5h6.5A1.5 1.5 0 0 1 20 8v10.5a1.5 1.5 0 0 1-1.5 1.5h-13A1.5 1.5 0 0 1 4 18.5z" />
      <path d="M8 11.5h8M8 15.5h5" strokeLinecap="round" />
    </svg>
  );
}

/** Opens examples: in the tab that has the same text already, else in a new one. */
function useOpenExample(): (example: Example) => void {
  const { addTab, changeTab, setVisiblePlugin } = useGraphiQLActions();
  const { tabs, queryEditor, variableEditor } = useGraphiQL(pick("tabs", "queryEditor", "variableEditor"));
  return (example) => {
    // There the panel lies over the editors.
    if (matchMedia(NARROW).matches) setVisiblePlugin(null);
    const place = tabs.findIndex((tab) => tab.query?.trim() === example.query.trim());
    if (place >= 0) {
      changeTab(place);
      return;
    }
    addTab();
    queryEditor?.setValue(example.query);
    variableEditor?.setValue(example.variables);
  };
}

function Group({ title, examples }: { title: string; examples: Example[] }) {
  const open = useOpenExample();
  return (
    <section>
      <h3>{title}</h3>
      <ul>
        {examples.map((example) => (
          <li key={example.name}>
            <button type="button" onClick={() => open(example)}>
              <span className="example-name">{example.name}</span>
              <span className="example-about">{example.about}</span>
              <span className="example-caller">{example.caller}</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

function Examples() {
  const [examples] = useState(() => readExamples(new Date()));
  return (
    <div className="examples">
      <h2>Examples</h2>
      <Group title="Questions" examples={examples.filter((example) => !example.writes)} />
      <Group title="Changes" examples={examples.filter((example) => example.writes)} />
    </div>
  );
}

export const EXAMPLES: GraphiQLPlugin = { title: "Examples", icon: Icon, content: Examples };
