import { readFileSync } from "node:fs"
import { assert, expect, it } from "@effect/vitest"
import { Schema } from "effect"
import { DoctorReport, doctorVersion } from "../../src/cli/doctorReport.ts"
import { StatusReport, statusVersion } from "../../src/cli/statusReport.ts"
import { report } from "./fixtures.ts"

const shippedAs = (name: string): string => new URL(`../../docs/${name}.schema.json`, import.meta.url).pathname

const documentOf = (title: string, document: Schema.Top): string => {
  const { definitions, schema } = Schema.toJsonSchemaDocument(document)
  const whole = {
    $schema: "https://json-schema.org/draft/2020-12/schema",
    title,
    ...schema,
    ...(Object.keys(definitions).length === 0 ? {} : { $defs: definitions })
  }
  return `${JSON.stringify(whole, null, 2)}\n`
}

it("ships the JSON schema of what status --json prints: made from the schema that the report is checked by", async () => {
  const document = documentOf(`sallyport status --json, version ${statusVersion}`, StatusReport)
  await expect(document).toMatchFileSnapshot(shippedAs("status"))
})

it("ships the JSON schema of what doctor --json prints", async () => {
  const document = documentOf(`sallyport doctor --json, version ${doctorVersion}`, DoctorReport)
  await expect(document).toMatchFileSnapshot(shippedAs("doctor"))
})

it("knows every field that a report has", () => {
  const text = readFileSync(shippedAs("status"), "utf8")
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
