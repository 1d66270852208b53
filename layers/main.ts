/** The composition root: what `bin.ts` starts. */
import * as Programs from "./cli/Programs.ts"
import { runCli } from "./runCli.ts"

export const main = (argv: ReadonlyArray<string>): void => runCli(argv, Programs.layer)
