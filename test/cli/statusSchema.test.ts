import { readFileSync } from "node:fs"
import { assert, expect, it } from "@effect/vitest"
import { Schema } from "effect"
import { StatusReport, statusVersion } from "../../src/cli/statusReport.ts"
import { report } from "./fixtures.ts"

const shipped = new URL("../../docs/status.schema.json", import.meta.url)

it("ships the JSON schema of what status --json prints: made from the schema that the report is checked by", async () => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(StatusReport)
  const document = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title: `sallyport status --json, version ${statusVersion}`,
    ...schema,
    ...(Object.keys(definitions).length === 0 ? {} : { $defs: definitions })
  }
  await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot(shipped.pathname)
})

it("knows every field that a report has", () => {
  const text = readFileSync(shipped, "utf8")
  const unknown = fieldsOf(JSON.parse(JSON.stringify(report))).filter((field) => !text.includes(`"${field}"`))
  assert.deepStrictEqual(unknown, [])
})

/** Names of fields, those of counters aside, which are data. */
const fieldsOf = (value: unknown): ReadonlyArray<string> =>
  Array.isArray(value)
    ? value.flatMap(fieldsOf)
    : typeof value === "object" && value !== null
      ? Object.entries(value).flatMap(([name, inner]) => [name, ...(name === "counters" ? [] : fieldsOf(inner))])
      : []
