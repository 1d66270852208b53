import * as Effect from "effect/Effect"
import { load } from "./load.ts"
import type { StateSummary } from "./StateFiles.ts"

/** The state directory that a configuration names. */
export const stateDirOf = Effect.fnUntraced(function* (config: string) {
  const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
  return (yield* readConfig(config)).stateDir
})

/** What is in a state, in a few words. */
export const contents = ({ clients, endingKey, names, publicKey }: StateSummary): string =>
  `public key ${publicKey}${endingKey === null ? "" : ` (and ${endingKey}, which ends)`}, ${clients} client${clients === 1 ? "" : "s"}, ${names} name${names === 1 ? "" : "s"}`
