/** GraphiQL in the colours that the reader chose for all pages, and Monaco in those of the pages, with their type. */
import { pick, useGraphiQL, useMonaco } from "@graphiql/react";
import { useEffect, useSyncExternalStore } from "react";
import { readShade, type Shade, watchShade } from "../page/shade";

const THEMES: Record<Shade, { base: "vs" | "vs-dark"; accent: string; widget: string; ink: string; argument: string; field: string }> = {
  light: { base: "vs", accent: "#9a3a02", widget: "#ffffff", ink: "#16181b", argument: "8045bb", field: "1d4ed8" },
  dark: { base: "vs-dark", accent: "#ff9d5c", widget: "#22262b", ink: "#eceef0", argument: "d79afc", field: "8ab4ff" },
};

export const EDITOR_THEMES = { light: "tokengraph-light", dark: "tokengraph-dark" };

/** Returns the current colours. */
export function useShade(): Shade {
  return useSyncExternalStore(watchShade, readShade);
}

/** Gives Monaco the pages' colours, once it is there. */
export function useEditorColours(shade: Shade): void {
  const monaco = useMonaco((state) => state.monaco);
  useEffect(() => {
    if (!monaco) return;
    for (const name of ["light", "dark"] as const) {
      const { base, accent, widget, ink, argument, field } = THEMES[name];
      monaco.editor.defineTheme(EDITOR_THEMES[name], {
        base,
        inherit: true,
        rules: [
          { token: "argument.identifier.gql", foreground: argument },
          { token: "key.identifier.gql", foreground: field },
          { token: "string.key.json", foreground: field },
        ],
        colors: {
          "editor.background": "#00000000",
          "editor.foreground": ink,
          "editorWidget.background": widget,
          "editorHoverWidget.background": widget,
          "editorSuggestWidget.background": widget,
          "editorSuggestWidget.highlightForeground": accent,
          "editorSuggestWidget.selectedBackground": `${accent}22`,
          "list.hoverBackground": `${accent}18`,
          "quickInput.background": widget,
          "menu.background": widget,
          "menu.selectionBackground": `${accent}22`,
          "menu.selectionForeground": ink,
          "textLink.foreground": accent,
          "textLink.activeForeground": accent,
          "editorLink.activeForeground": accent,
          "scrollbar.shadow": "#00000000",
          focusBorder: accent,
        },
      });
    }
    monaco.editor.setTheme(EDITOR_THEMES[shade]);
  }, [monaco, shade]);
}

/** Gives the editors the pages' type, and lines that wrap: on a phone there is no room beside them. Belongs inside GraphiQL. */
export function EditorType(): null {
  const editors = useGraphiQL(pick("queryEditor", "variableEditor", "headerEditor", "responseEditor"));
  const { queryEditor, variableEditor, headerEditor, responseEditor } = editors;
  useEffect(() => {
    const fontFamily = getComputedStyle(document.documentElement).getPropertyValue("--mono");
    for (const editor of [queryEditor, variableEditor, headerEditor, responseEditor]) {
      editor?.updateOptions({ fontFamily, fontSize: 13, wordWrap: "on", wrappingIndent: "same" });
    }
  }, [queryEditor, variableEditor, headerEditor, responseEditor]);
  return null;
}
