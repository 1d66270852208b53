/** The site's policy as a gateway knew it last, in a file of its state directory: it starts with it without PostgreSQL. */
import * as fs from "node:fs/promises"
import { join } from "node:path"
import * as Effect from "effect/Effect"
import { maxFileLength } from "../../src/config/GatewayConfig.ts"
import type { SitePolicy } from "../../src/shared/SitePolicy.ts"

const pathIn = (stateDir: string): string => join(stateDir, "site-policy.yaml")

/** The file is the policy as it was written; what there is to say of it comes last, so that one that is torn is known. */
const lastLine = /\n# policy (\d{1,15}) of the site \(([0-9a-f-]{36})\), applied at (\d{1,15}) by ([ -~]{1,256})\n$/
const withLastLine = ({ at, by, text, token, version }: SitePolicy): string =>
  `${text}\n# policy ${version} of the site (${token}), applied at ${Math.round(at)} by ${by}\n`
/** In UTF-8, with the last line. */
const maxSize = 4 * maxFileLength

/** `null`: there is none that is whole. */
export const readKept = Effect.fnUntraced(function* (stateDir: string) {
  const path = pathIn(stateDir)
  const read = Effect.tryPromise({
    try: async () => ((await fs.stat(path)).size > maxSize ? "" : await fs.readFile(path, "utf8")),
    catch: codeOf
  })
  const file = yield* Effect.result(read)
  if (file._tag === "Failure" && file.failure === "ENOENT") return null
  const found = file._tag === "Failure" ? null : lastLine.exec(file.success)
  if (found === null) {
    const why = file._tag === "Failure" ? `it cannot be read (${file.failure})` : "it is not whole"
    yield* Effect.logError(
      `${path} does not count: ${why}; until PostgreSQL tells the site's policy again this gateway's own file counts`
    )
    return null
  }
  const [, version, token = "", at, by = ""] = found
  const policy: SitePolicy = {
    version: Number(version),
    token,
    text: found.input.slice(0, found.index),
    by,
    at: Number(at)
  }
  return policy
})

/** As a whole or not at all: fails with a line for the operator. */
export const keep = (stateDir: string, policy: SitePolicy): Effect.Effect<void, string> => {
  const path = pathIn(stateDir)
  return Effect.tryPromise({
    try: async () => {
      // It may have preshared keys.
      await fs.rm(`${path}.new`, { force: true })
      await fs.writeFile(`${path}.new`, withLastLine(policy), { mode: 0o600, flush: true })
      await fs.rename(`${path}.new`, path)
    },
    catch: (cause) =>
      `policy ${policy.version} of the site is in force, but a restart without PostgreSQL would go back to an earlier one: ${path} cannot be written (${codeOf(cause)}) — free some space, or see its directory`
  })
}

const codeOf = (cause: unknown): string =>
  cause instanceof Error && "code" in cause && typeof cause.code === "string" ? cause.code : "unknown"
