/**
 * The schema and the stored documents by the rules of graphql-eslint: recommended and Relay's, each that is off with its reason. Run from the root of
 * the repository, `npm run lint` does.
 */

import graphql from "@graphql-eslint/eslint-plugin";

const SCHEMA = "schema.graphql";
const DOCUMENTS = ["docs/queries/*.graphql", "app/rest/documents/*.graphql"];

const language = {
  plugins: { "@graphql-eslint": graphql },
  languageOptions: { parser: graphql.parser, parserOptions: { graphQLConfig: { schema: SCHEMA, documents: DOCUMENTS } } },
};

export default [
  {
    files: [SCHEMA],
    ...language,
    rules: {
      ...graphql.configs["flat/schema-recommended"].rules,
      ...graphql.configs["flat/schema-relay"].rules,
      // A name has one meaning on all types: what is `modelId` on a row is `modelId` on Model too, not `id`, which is the global id.
      "@graphql-eslint/no-typename-prefix": "off",
      // Objects of the graph have an id. Sums, their parts and receipts are values: nothing could be asked for again by an id of theirs.
      "@graphql-eslint/strict-id-in-types": "off",
      // `@oneOf` is GraphQL's own directive, printed without words.
      "@graphql-eslint/require-description": ["error", { types: true, rootField: true }],
      // Lists page forward; backward where that is cheap.
      "@graphql-eslint/relay-arguments": ["error", { includeBoth: false }],
      "@graphql-eslint/relay-edge-types": [
        "error",
        {
          withEdgeSuffix: true,
          // A row of an answer is a value.
          shouldImplementNode: false,
          // Lists that are bounded by what they are of (variants, points of a series) are no connections; connections also give `nodes`.
          listTypeCanWrapOnlyEdgeType: false,
        },
      ],
    },
  },
  {
    files: DOCUMENTS,
    ...language,
    rules: {
      ...graphql.configs["flat/operations-recommended"].rules,
      // A saved query and the document behind a URL that answer the same share a name; no client loads both.
      "@graphql-eslint/unique-operation-name": "off",
      "@graphql-eslint/unique-fragment-name": "off",
    },
  },
  {
    files: ["app/rest/documents/*.graphql"],
    rules: {
      // What is selected there is a documented body, to the byte.
      "@graphql-eslint/require-selections": "off",
    },
  },
];
