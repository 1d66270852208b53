import * as Result from "effect/Result"
import { parseIdentifier } from "./values.ts"

/** Notes a problem at a place in the file: of the value at `path` or, with `key`, of its key. */
export type Report = (path: ReadonlyArray<PropertyKey>, cause: string, fix: string, key?: boolean) => void

/** A key that names something must be a name. */
export const checkName = (name: string, path: ReadonlyArray<PropertyKey>, report: Report): void => {
  const checked = parseIdentifier(name)
  if (Result.isFailure(checked)) report(path, checked.failure.cause, checked.failure.fix, true)
}
