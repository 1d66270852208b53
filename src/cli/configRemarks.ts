/** What is to be said of a file that is correct. */
import * as Effect from "effect/Effect"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { blockRemarks, type Remark, resolverRemarks } from "./checkNames.ts"
import { expiredResources } from "./expiredResources.ts"
import { openSecrets } from "./secretFiles.ts"

/** @param now epoch milliseconds */
export const configRemarks = Effect.fnUntraced(function* (config: GatewayConfig, file: string, now: number) {
  const { clients, stateDir } = config
  const secrets = clients.some(({ presharedKey }) => presharedKey !== null) ? [file] : []
  const warnings = [
    ...config.warnings,
    ...expiredResources(config, now),
    ...(yield* openSecrets([...secrets, stateDir, `${stateDir}/state.db`]))
  ]
  return [
    ...warnings.map((text): Remark => ({ warning: true, text })),
    ...(yield* resolverRemarks(config)),
    ...(yield* blockRemarks(config))
  ]
})
