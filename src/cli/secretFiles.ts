import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { GatewayConfig } from "../config/GatewayConfig.ts"

/** Others on this host: to read, and to write. */
const othersRead = 0o004
const othersWrite = 0o002

/** What holds secrets of a gateway with this file. */
export const secretsOf = ({ clients, state, stateDir }: GatewayConfig, file: string): ReadonlyArray<string> => [
  ...(clients.some(({ presharedKey }) => presharedKey !== null) ? [file] : []),
  ...(state === null || state.passwordFile === null ? [] : [state.passwordFile]),
  stateDir,
  `${stateDir}/state.db`
]

/** A line for each secret that everybody on this host may read or replace, with the command that ends it. */
export const openSecrets = Effect.fnUntraced(function* (paths: ReadonlyArray<string>) {
  const fs = yield* FileSystem.FileSystem
  const lines: Array<string> = []
  for (const path of paths) {
    const info = yield* fs.stat(path).pipe(Effect.orElseSucceed(() => null))
    if (info === null || (info.type !== "File" && info.type !== "Directory")) continue
    const directory = info.type === "Directory"
    const open = (info.mode & (directory ? othersWrite : othersRead | othersWrite)) !== 0
    if (!open) continue
    const what = directory ? "everybody on this host may replace what is in" : "everybody on this host may read"
    lines.push(`${what} ${path}, which holds secrets: run "chmod ${directory ? 700 : 600} ${path}"`)
  }
  return lines
})

/** Warns of them in the log. */
export const warnOfOpenSecrets = Effect.fnUntraced(function* (paths: ReadonlyArray<string>) {
  for (const line of yield* openSecrets(paths)) yield* Effect.logWarning(line)
})

/** Warns of a portal that is asked without encryption, but for one on this host. */
export const warnOfPlainPortal = (apiUrl: string): Effect.Effect<void> => {
  const { hostname, protocol } = new URL(apiUrl)
  const here = hostname === "localhost" || hostname === "[::1]" || hostname.startsWith("127.")
  return protocol !== "ws:" || here
    ? Effect.void
    : Effect.logWarning(
        `the portal is asked by ws://, without encryption: whoever is on the way to ${hostname} reads the token and may be the portal; use wss://`
      )
}
