/** Links that open a query: `/graphql?query=…&variables=…`. A query that came by a link is shown, never run. */
export interface Link {
  query: string;
  variables: string;
}

/** Returns what the page's URL asks for; null: nothing. */
export function readLink(search: string): Link | null {
  const given = new URLSearchParams(search);
  const query = given.get("query");
  if (!query) return null;
  const variables = given.get("variables") ?? "";
  return { query, variables: indent(variables) };
}

export function writeLink(origin: string, { query, variables }: Link): string {
  const url = new URL("/graphql", origin);
  url.searchParams.set("query", query);
  if (variables.trim()) url.searchParams.set("variables", variables);
  return url.href;
}

function indent(json: string): string {
  try {
    return json ? JSON.stringify(JSON.parse(json), null, 2) : "";
  } catch {
    return json; // the editor marks what is wrong with it
  }
}
