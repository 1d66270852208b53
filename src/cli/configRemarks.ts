/** What is to be said of a file that is correct. */
import * as Effect from "effect/Effect"
import type { GatewayConfig } from "../config/GatewayConfig.ts"
import { blockRemarks, type Remark, resolverRemarks } from "./checkNames.ts"
import { expiredResources } from "./expiredResources.ts"
import { openSecrets, secretsOf } from "./secretFiles.ts"

/** @param now epoch milliseconds */
export const configRemarks = Effect.fnUntraced(function* (config: GatewayConfig, file: string, now: number) {
  const warnings = [
    ...config.warnings,
    ...expiredResources(config, now),
    ...(yield* openSecrets(secretsOf(config, file)))
  ]
  return [
    ...warnings.map((text): Remark => ({ warning: true, text })),
    ...(yield* resolverRemarks(config)),
    ...(yield* blockRemarks(config))
  ]
})
