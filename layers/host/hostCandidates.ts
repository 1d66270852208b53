/** Tells the packet path at which of this host's addresses others may reach it: those of its uplinks. */
import * as Effect from "effect/Effect"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import { HostNetwork } from "../../src/host/HostNetwork.ts"

export const makeHostCandidates = Effect.gen(function* () {
  const dataPlane = yield* DataPlane
  const host = yield* HostNetwork
  let reachedFrom: string | null = null
  let told: ReadonlyArray<string> = []
  return {
    /** The address from which the portal is reached; `null` before. */
    reachedFrom: () => reachedFrom,
    setReachedFrom: (address: string | null): void => {
      reachedFrom = address
    },
    /** Whether the address from which the portal was reached is none of the host's any more; said once. */
    hasLost: (own: ReadonlyArray<string>): boolean => {
      if (reachedFrom === null || own.includes(reachedFrom)) return false
      reachedFrom = null
      return true
    },
    /** Asks the host, and tells what is new. */
    tell: Effect.gen(function* () {
      const addresses = yield* host.uplinkAddresses(reachedFrom)
      if (addresses.join() === told.join()) return
      told = addresses
      yield* dataPlane.send({
        _tag: "SetHostCandidates",
        addresses: addresses.map((address) => ({ address, port: dataPlane.port }))
      })
    })
  }
})
