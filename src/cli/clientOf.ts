import * as Effect from "effect/Effect"
import type { ConfiguredClient, GatewayConfig } from "../config/GatewayConfig.ts"
import { ConfigError, quote } from "../config/problem.ts"
import { suggestFix } from "../config/suggest.ts"

/** The client of that name. */
export const clientOf = (
  { clients }: GatewayConfig,
  name: string,
  file: string
): Effect.Effect<ConfiguredClient, ConfigError> => {
  const client = clients.find(({ id }) => id === name)
  if (client !== undefined) return Effect.succeed(client)
  const names = clients.map(({ id }) => id)
  const fix = suggestFix(name, names, `add it to clients in ${file}`)
  return Effect.fail(new ConfigError({ message: `no client is called ${quote(name)} in ${file} — ${fix}` }))
}
