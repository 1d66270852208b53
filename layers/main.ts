/** The composition root: what `bin.ts` starts. Loads what the command line asks for, and nothing else. */
import { plainStatus } from "../src/cli/plainStatus.ts"
import { version } from "./host/version.ts"

/** Ends when the program is running; fails when it cannot be loaded. */
export const main = async (argv: ReadonlyArray<string>): Promise<void> => {
  // As the framework of the command line says it, which takes 200 modules to load.
  if (argv.length === 1 && argv[0] === "--version") {
    process.stdout.write(`sallyport v${version}\n`)
    return
  }
  const status = plainStatus(argv, process.env)
  if (status !== null) {
    const { runStatus } = await import("./cli/runStatus.ts")
    runStatus(status)
    return
  }
  const [{ runCli }, Programs] = await Promise.all([import("./runCli.ts"), import("./cli/Programs.ts")])
  runCli(argv, Programs.layer)
}
