/** @jsxImportSource react */
/** GraphiQL as this gateway has it: its schema, its examples, its key field. */
import { explorerPlugin } from "@graphiql/plugin-explorer";
import { HISTORY_PLUGIN } from "@graphiql/plugin-history";
import { pick, ToolbarButton, useGraphiQL } from "@graphiql/react";
import { GraphiQL } from "graphiql";
import type { GraphQLSchema } from "graphql";
import { useState } from "react";
import { readExamples } from "./examples";
import { EXAMPLES, NARROW } from "./examples_panel";
import { createFetcher, type Refusal } from "./fetcher";
import { KeyBar } from "./key_bar";
import { type Link, readLink, writeLink } from "./link";
import { EDITOR_THEMES, EditorType, useEditorColours, useShade } from "./theme";

const PLUGINS = [EXAMPLES, HISTORY_PLUGIN, explorerPlugin({ showAttribution: false })];
const STORED_TABS = "graphiql:tabState";
const WIDE = "(min-width: 1100px)";

interface Start {
  defaultTabs: { query: string; variables: string }[];
  initialQuery?: string;
  initialVariables?: string;
}

/** Returns which tabs to begin with: those of the last visit, or the examples; and before them what a link asks for. */
function begin(link: Link | null): Start {
  const examples = readExamples(new Date()).filter((example) => !example.writes);
  const defaultTabs = [...(link ? [link] : []), ...examples.map(({ query, variables }) => ({ query, variables }))];
  const isFirstVisit = !localStorage.getItem(STORED_TABS);
  const first = link ?? (isFirstVisit ? defaultTabs[0] : undefined);
  return first ? { defaultTabs, initialQuery: first.query, initialVariables: first.variables } : { defaultTabs };
}

function CopyLink() {
  const { queryEditor, variableEditor } = useGraphiQL(pick("queryEditor", "variableEditor"));
  const [isCopied, setCopied] = useState(false);
  const copy = async () => {
    const link = { query: queryEditor?.getValue() ?? "", variables: variableEditor?.getValue() ?? "" };
    await navigator.clipboard.writeText(writeLink(location.origin, link));
    setCopied(true);
    setTimeout(() => setCopied(false), 2000);
  };
  return (
    <ToolbarButton onClick={copy} label={isCopied ? "Copied" : "Copy a link to this query"}>
      <svg className="graphiql-toolbar-icon" viewBox="0 0 20 20" fill="none" stroke="currentColor" strokeWidth="1.6" aria-hidden="true">
        <path d="M8.5 11.5a3 3 0 0 0 4.240 0l2.5-2.5a3 3 0 0 0-4.240-4.240l-.9.9M11.5 8.5a3 3 0 0 0-4.240 0l-2.5 2.5a3 3 0 0 0 4.240 4.240l.9-.9" />
      </svg>
    </ToolbarButton>
  );
}

export function App({ schema }: { schema: GraphQLSchema | undefined }) {
  const [refusal, setRefusal] = useState<Refusal>(null);
  const [fetcher] = useState(() => createFetcher(setRefusal));
  const [start] = useState(() => {
    const link = readLink(location.search);
    // A reload then shows what was made of the query, not the link's again.
    if (link) history.replaceState(null, "", location.pathname);
    return begin(link);
  });
  const [visible] = useState(() => (matchMedia(WIDE).matches ? EXAMPLES : undefined));
  const shade = useShade();
  useEditorColours(shade);
  return (
    <>
      <KeyBar refusal={refusal} onChange={() => setRefusal(null)} />
      <GraphiQL
        {...start}
        {...(schema ? { schema, dangerouslyAssumeSchemaIsValid: true } : {})}
        {...(visible ? { visiblePlugin: visible } : {})}
        fetcher={fetcher}
        plugins={PLUGINS}
        forcedTheme={shade}
        editorTheme={EDITOR_THEMES}
        shouldPersistHeaders={false}
        showPersistHeadersSettings={false}
        defaultEditorToolsVisibility={matchMedia(NARROW).matches ? false : "variables"}
      >
        <GraphiQL.Logo>{null}</GraphiQL.Logo>
        <GraphiQL.Toolbar>
          {({ merge, prettify, copy }) => (
            <>
              {prettify}
              {merge}
              {copy}
              <CopyLink />
            </>
          )}
        </GraphiQL.Toolbar>
        <EditorType />
      </GraphiQL>
    </>
  );
}
