/** Sends requests to the gateway with the key of the tab, and reports refusals to listeners. */
import type { Fetcher } from "@graphiql/toolkit";
import { Kind, parse } from "graphql";
import { readKey } from "../page/key";

const MEDIA_TYPES = "application/graphql-response+json, application/json;q=0.9";

/** What an answer says about the key: nothing wrong, or the code and words of the first refusal. */
export type Refusal = { code: string; message: string } | null;

interface Answer {
  errors?: { message: string; extensions?: { code?: string } }[];
}

const REFUSALS = new Set(["UNAUTHENTICATED", "FORBIDDEN", "RATE_LIMITED"]);

export function createFetcher(onRefusal: (refusal: Refusal) => void): Fetcher {
  return async (parameters, options) => {
    const key = readKey();
    const headers = new Headers({ Accept: MEDIA_TYPES, "Content-Type": "application/json" });
    if (key) headers.set("Authorization", `Bearer ${key}`);
    for (const [name, value] of Object.entries(options?.headers ?? {})) headers.set(name, String(value));
    const operationName = needsName(parameters.query) ? parameters.operationName : undefined;
    const response = await ask({ method: "POST", headers, body: JSON.stringify({ ...parameters, operationName }) });
    const answer = await read(response);
    const refused = answer.errors?.find((error) => REFUSALS.has(error.extensions?.code ?? ""));
    onRefusal(refused ? { code: refused.extensions?.code ?? "", message: refused.message } : null);
    return answer as ReturnType<Fetcher> extends Promise<infer Result> ? Result : never;
  };
}

/** Tells whether the text has several operations. GraphiQL learns an operation's name late, and would send that of the tab before. */
function needsName(query: string): boolean {
  try {
    return parse(query).definitions.filter((node) => node.kind === Kind.OPERATION_DEFINITION).length > 1;
  } catch {
    return false; // the gateway says what is wrong with it
  }
}

async function ask(request: RequestInit): Promise<Response> {
  try {
    return await fetch("/graphql", request);
  } catch {
    throw new Error("The gateway does not answer. Is it running, and is there a network? Then run the query again.");
  }
}

async function read(response: Response): Promise<Answer> {
  const text = await response.text();
  try {
    return JSON.parse(text) as Answer;
  } catch {
    throw new Error(`The gateway, or something before it, answered with status ${response.status} and no JSON: ${text.slice(0, 200)}`);
  }
}
