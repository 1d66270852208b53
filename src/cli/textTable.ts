/** Text in columns for terminals and files; nothing in it commands a terminal. */
import { displayWidth } from "effect/cli/CliOutput"
import { printable as clean } from "../events/printable.ts"

/** At most this many columns on the screen, the last one "…" where something is cut off. */
export const fit = (text: string, width: number): string => {
  if (width === Number.POSITIVE_INFINITY || displayWidth(text) <= width) return text
  let shown = ""
  let used = 1
  for (const character of text) {
    used += displayWidth(character)
    if (used > width) break
    shown += character
  }
  return `${shown}…`
}

/** Lines of at most `width` columns, broken between words (not behind a number); all but the first begin with `indent` spaces. */
export const wrap = (text: string, width: number, indent: number): ReadonlyArray<string> => {
  const lines: Array<string> = []
  let line = ""
  let used = 0
  for (const word of text.split(/(?<!\d) /)) {
    const more = displayWidth(word)
    if (line.trim() !== "" && used + 1 + more > width) {
      lines.push(line)
      line = " ".repeat(indent) + word
      used = indent + more
    } else {
      used += line === "" ? more : 1 + more
      line = line === "" ? word : `${line} ${word}`
    }
  }
  return [...lines, line].map((one) => fit(one, width))
}

/** Narrower than this no column becomes. */
const narrowest = 8

/**
 * Columns as wide as their widest cell, two spaces between, nothing behind the last. Where that is more than `width`, the
 * widest columns give way.
 */
export const table = (
  head: ReadonlyArray<string>,
  rows: ReadonlyArray<ReadonlyArray<string>>,
  width = Number.POSITIVE_INFINITY
): string => {
  const cells = [head, ...rows].map((row) => row.map(clean))
  const widths = head.map((_, column) =>
    cells.reduce((widest, row) => Math.max(widest, displayWidth(row[column] ?? "")), 0)
  )
  const gaps = 2 * (widths.length - 1)
  for (let over = widths.reduce((sum, one) => sum + one, gaps) - width; over > 0; over--) {
    const widest = Math.max(...widths)
    if (widest <= narrowest) break
    widths[widths.indexOf(widest)] = widest - 1
  }
  const pad = (cell: string, column: number) => {
    const shown = fit(cell, widths[column]!)
    return shown + " ".repeat(Math.max(0, widths[column]! - displayWidth(shown)))
  }
  return cells.map((row) => fit(row.map(pad).join("  ").trimEnd(), width)).join("\n")
}

/** The first few. */
export const list = (texts: ReadonlyArray<string>): string => {
  const shown = texts.slice(0, 4).join(" ")
  return texts.length > 4 ? `${shown} +${texts.length - 4}` : shown
}

/** `one address`, `3 addresses`. */
export const counted = (count: number, one: string, many = `${one}s`): string => `${count} ${count === 1 ? one : many}`
