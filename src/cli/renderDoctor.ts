import { printable as clean } from "../events/printable.ts"
import type { ScreenSize } from "./renderStatus.ts"
import type { Row, Verdict } from "./doctorRow.ts"
import { counted, wrap } from "./textTable.ts"

const colors: Readonly<Record<Verdict, string>> = { fail: "31;1", warn: "33", pass: "32" }

/** The sheet for people: a line each in a pipe, broken between words on a terminal; how many of each at the end. */
export const renderDoctor = (rows: ReadonlyArray<Row>, screen: ScreenSize | null): string => {
  const width = screen?.columns ?? Number.POSITIVE_INFINITY
  const column = Math.max(...rows.map(({ check }) => check.length))
  const lines = rows.flatMap(({ check, next, verdict, what }) => {
    const text = clean(`${what}${next === "" ? "" : ` → ${next}`}`)
    const head = `${verdict.toUpperCase()}  ${check.padEnd(column)}  `
    // On a narrow terminal a column for the text would leave it no room.
    const indent = head.length + narrowest > width ? 2 : head.length
    const [first = "", ...more] = wrap(`${head}${text}`, width, indent)
    return [screen?.color === true ? paint(verdict, first.trimEnd()) : first.trimEnd(), ...more]
  })
  return [...lines, "", tally(rows)].join("\n")
}

/** A text is not broken into lines shorter than this. */
const narrowest = 40

/** The word only: what it says is to be read. */
const paint = (verdict: Verdict, line: string): string =>
  `\u001b[${colors[verdict]}m${line.slice(0, verdict.length)}\u001b[0m${line.slice(verdict.length)}`

/** `2 fail, 1 warning, 14 pass`. */
const tally = (rows: ReadonlyArray<Row>): string => {
  const count = (verdict: Verdict) => rows.filter((row) => row.verdict === verdict).length
  return `${count("fail")} fail, ${counted(count("warn"), "warning")}, ${count("pass")} pass`
}
