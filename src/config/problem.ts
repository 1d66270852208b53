import * as Schema from "effect/Schema"

/** One thing wrong in a file. Line and column count from 1; `cause` and `fix` are parts of one line. */
export interface Problem {
  readonly line: number
  readonly column: number
  readonly cause: string
  readonly fix: string
}

/** At most this many problems are shown at once. */
const maxProblems = 20

/** A file cannot be used. `message` has one line `file:line:column: cause — fix` per problem. */
export class ConfigError extends Schema.TaggedError<ConfigError>()("ConfigError", { message: Schema.String }) {}

/** In the order of the file, duplicates removed, at most `maxProblems` and then how many more there are. */
export const configError = (file: string, problems: ReadonlyArray<Problem>): ConfigError =>
  new ConfigError({ message: formatProblems(file, problems).join("\n") })

/** A line each; order and number like those of `configError`. */
export const formatProblems = (file: string, problems: ReadonlyArray<Problem>): ReadonlyArray<string> => {
  const lines = [...new Set([...problems].sort(byPosition).map((problem) => formatProblem(file, problem)))]
  const shown = lines.slice(0, maxProblems)
  if (lines.length > shown.length) shown.push(`${file}: and ${lines.length - shown.length} more`)
  return shown
}

const formatProblem = (file: string, problem: Problem): string =>
  `${file}:${problem.line}:${problem.column}: ${oneLine(problem.cause)} — ${oneLine(problem.fix)}`

/** Text from a file, quoted for a message: short, and nothing in it that a terminal would obey. */
export const quote = (text: string): string => {
  const shown = text.slice(0, 60)
  return `"${oneLine(shown)}${shown.length < text.length ? "…" : ""}"`
}

const byPosition = (a: Problem, b: Problem): number => a.line - b.line || a.column - b.column

const oneLine = (text: string): string => text.replaceAll(/[\p{Cc}\p{Cf}\u2028\u2029]+/gu, " ").trim()
