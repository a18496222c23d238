/** Runs the audits of GraphQL over HTTP against the endpoint whose URL is given, and prints those that are not met: `[[id, status, reason], ...]`. */

import { auditServer } from "graphql-http";

const results = await auditServer({ url: process.argv[2] });
const unmet = results
  .filter((result) => result.status !== "ok")
  .map((result) => [result.id, result.status, `${result.name}: ${result.reason}`]);
console.log(JSON.stringify({ audits: results.length, unmet }));
