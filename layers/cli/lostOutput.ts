/**
 * A command whose output could not be written has failed, whatever else it did: says so once, at the end. A reader that has
 * seen enough (`| head`) is no failure.
 */
import { errorCode } from "./errorCode.ts"

export const failOnLostOutput = (): void => {
  let lost = "EPIPE"
  process.stdout.on("error", (error) => (lost = errorCode(error)))
  process.once("exit", () => {
    if (lost === "EPIPE") return
    process.stderr.write(`sallyport: its output cannot be written (${lost}) — write it somewhere else\n`)
    process.exitCode ||= 1
  })
}
