/** The saved examples: `docs/queries/*.graphql`, each with a comment that says what it answers and who may ask. */
import { Kind, type OperationDefinitionNode, OperationTypeNode, parse, valueFromASTUntyped } from "graphql";

export interface Example {
  /** The operation's name, by which GraphiQL titles its tab. */
  name: string;
  /** What it answers. */
  about: string;
  /** Who may ask: words such as `anybody` or `a key of role admin`. */
  caller: string;
  writes: boolean;
  query: string;
  /** JSON of the variables' defaults, to be changed. Empty if it has none. */
  variables: string;
}

const FILES: Record<string, string> = import.meta.glob("../../../docs/queries/*.graphql", {
  query: "?raw",
  import: "default",
  eager: true,
});
const CALLER = "Caller: ";
const DAY_MS = 86_400_000;

/** Returns the examples, those for everybody first, those that write last; else by file name. */
export function readExamples(now: Date): Example[] {
  const read = Object.entries(FILES).map(([path, text]) => readExample(path, text, now));
  return read.sort((a, b) => Number(a.writes) - Number(b.writes) || rank(a) - rank(b));
}

function rank(example: Example): number {
  const order = ["anybody", "any valid key", "a key of a tenant", "a key of role gateway", "a key of role admin"];
  const place = order.indexOf(example.caller);
  return place < 0 ? order.length : place;
}

function readExample(path: string, text: string, now: Date): Example {
  const comments = [...text.matchAll(/^# ?(.*)$/gm)].map((match) => match[1] ?? "");
  const caller = comments.find((line) => line.startsWith(CALLER))?.slice(CALLER.length);
  const operation = parse(text).definitions.find((node): node is OperationDefinitionNode => node.kind === Kind.OPERATION_DEFINITION);
  if (!caller || !operation?.name) throw new Error(`${path} names no caller, or no operation`);
  return {
    name: operation.name.value,
    about: comments.filter((line) => !line.startsWith(CALLER)).join(" "),
    caller: caller.replace(/\.$/, ""),
    writes: operation.operation === OperationTypeNode.MUTATION,
    query: text,
    variables: readVariables(operation, now),
  };
}

function readVariables(operation: OperationDefinitionNode, now: Date): string {
  const values: Record<string, unknown> = {};
  for (const { variable, defaultValue } of operation.variableDefinitions ?? []) {
    if (!defaultValue || defaultValue.kind === Kind.NULL) continue;
    // A day in a file would be out of date: yesterday is the last whole one.
    const isDay = variable.name.value === "date";
    values[variable.name.value] = isDay ? new Date(now.getTime() - DAY_MS).toISOString().slice(0, 10) : valueFromASTUntyped(defaultValue);
  }
  return Object.keys(values).length > 0 ? JSON.stringify(values, null, 2) : "";
}
