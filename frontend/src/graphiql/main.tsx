/** @jsxImportSource react */
/** Starts GraphiQL. The schema comes as SDL, which caches keep and which is there where introspection is not. */
import "../csp/styles";
import "./workers";
// Not graphiql/style.css: it brings Monaco a second time, and fonts as data: URLs.
import "@graphiql/react/style.css";
import "@graphiql/plugin-doc-explorer/style.css";
import "@graphiql/plugin-history/style.css";
import "graphiql/graphiql.css";
import "@graphiql/plugin-explorer/style.css";
import "./graphiql.css";
import { buildSchema, type GraphQLSchema } from "graphql";
import { createRoot } from "react-dom/client";
import { startThemeButton } from "../page/theme";
import { App } from "./app";

/** Returns the gateway's schema; undefined if it is not to be had: then GraphiQL asks by introspection. */
async function loadSchema(): Promise<GraphQLSchema | undefined> {
  try {
    const response = await fetch("/schema.graphql");
    return response.ok ? buildSchema(await response.text(), { assumeValid: true }) : undefined;
  } catch {
    return undefined;
  }
}

startThemeButton();
const place = document.getElementById("graphiql");
if (place?.dataset.state === "loading") {
  // GraphiQL asks for Monaco only when it is drawn: by then it is on its way, together with the schema.
  void import("monaco-graphql/esm/monaco-editor.js");
  const schema = await loadSchema();
  place.dataset.state = "ready";
  createRoot(place).render(<App schema={schema} />);
}
