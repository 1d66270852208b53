import * as Result from "effect/Result"
import { quote } from "./problem.ts"
import { suggestFix } from "./suggest.ts"
import { parseIdentifier } from "./values.ts"

/** Notes a problem at a place in the file: of the value at `path` or, with `key`, of its key. */
export type Report = (path: ReadonlyArray<PropertyKey>, cause: string, fix: string, key?: boolean) => void

/** A key that names something must be a name. */
export const checkName = (name: string, path: ReadonlyArray<PropertyKey>, report: Report): void => {
  const checked = parseIdentifier(name)
  if (Result.isFailure(checked)) report(path, checked.failure.cause, checked.failure.fix, true)
}

/** A resolver set that is asked must be there. */
export const checkResolver = (
  resolver: string,
  path: ReadonlyArray<PropertyKey>,
  resolvers: ReadonlyMap<string, unknown>,
  report: Report
): void => {
  if (resolver === "system" || resolvers.has(resolver)) return
  report(
    path,
    `unknown resolver ${quote(resolver)}`,
    suggestFix(resolver, [...resolvers.keys()], "add it under resolvers")
  )
}
