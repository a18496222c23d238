/**
 * Gives answers to the caches of Apollo Client and urql as they are without configuration but that urql is told which types are values, which
 * have no id. Reads `{answers: [{query, variables, data}, ...], values: [type, ...]}` from standard input; prints for each client what it warned of, the keys under which it keeps objects (Apollo), and which queries it cannot answer from its cache.
 */

import { text } from "node:stream/consumers";
import { isDeepStrictEqual } from "node:util";
import { InMemoryCache } from "@apollo/client/cache";
import { loadDevMessages, loadErrorMessages } from "@apollo/client/dev";
import { Client, fetchExchange } from "@urql/core";
import { cacheExchange } from "@urql/exchange-graphcache";
import { parse } from "graphql";

const given = JSON.parse(await text(process.stdin));
const keys = Object.fromEntries(given.values.map((type) => [type, () => null]));
const answers = given.answers.map((answer) => ({ ...answer, query: parse(answer.query) }));

function apollo() {
  const warnings = [];
  for (const level of ["warn", "error"]) console[level] = (...words) => warnings.push(words.join(" "));
  loadDevMessages();
  loadErrorMessages();
  const cache = new InMemoryCache();
  for (const answer of answers) cache.writeQuery(answer);
  const missed = answers.flatMap(({ query, variables, data }, position) =>
    isDeepStrictEqual(cache.readQuery({ query, variables }), data) ? [] : [position],
  );
  return { warnings, missed, keys: Object.keys(cache.extract()) };
}

async function urql() {
  const warnings = [];
  let current;
  const client = new Client({
    url: "http://gateway.invalid/graphql",
    preferGetMethod: false,
    fetch: async () => new Response(JSON.stringify({ data: current }), { headers: { "Content-Type": "application/json" } }),
    exchanges: [cacheExchange({ keys, logger: (_severity, message) => warnings.push(message) }), fetchExchange],
  });
  for (const { query, variables, data } of answers) {
    current = data;
    await client.query(query, variables, { requestPolicy: "network-only" }).toPromise();
  }
  const missed = answers.flatMap(({ query, variables }, position) => (client.readQuery(query, variables)?.data == null ? [position] : []));
  return { warnings, missed };
}

console.log(JSON.stringify({ apollo: apollo(), urql: await urql() }));
