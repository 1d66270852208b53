import * as Schema from "effect/Schema"
import type { DoctorFacts } from "./doctorFacts.ts"
import { verdicts } from "./doctorRow.ts"
import { doctorSheet } from "./doctorSheet.ts"

export const doctorVersion = 1

/** The document of `sallyport doctor --json`. */
export const DoctorReport = Schema.Struct({
  version: Schema.Literal(doctorVersion),
  /** Epoch milliseconds. */
  at: Schema.Finite,
  /** Nothing fails. */
  ok: Schema.Boolean,
  /** What fails first. */
  rows: Schema.Array(
    Schema.Struct({
      check: Schema.String,
      verdict: Schema.Literals(verdicts),
      what: Schema.String,
      /** What to do; empty where nothing is to be done, or `what` says it. */
      next: Schema.String
    })
  )
})
export type DoctorReport = typeof DoctorReport.Type

/** What is made of the facts. */
export const doctorReport = (facts: DoctorFacts, at: number): DoctorReport => {
  const rows = doctorSheet(facts)
  return { version: doctorVersion, at, ok: rows.every(({ verdict }) => verdict !== "fail"), rows }
}
