import * as Schema from "effect/Schema"
import { formatAddress, isLinkLocal, isLoopback, isMulticast, isUnspecified, parseAddress } from "../packet/address.ts"
import type { Route } from "./overlap.ts"

/** An interface as `ip -j address` prints it; more fields come along. */
export const Interface = Schema.Struct({
  ifname: Schema.optionalKey(Schema.String),
  addr_info: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        local: Schema.optionalKey(Schema.String),
        prefixlen: Schema.optionalKey(Schema.Int),
        broadcast: Schema.optionalKey(Schema.String),
        scope: Schema.optionalKey(Schema.String),
        deprecated: Schema.optionalKey(Schema.Boolean)
      })
    )
  )
})
export type Interface = typeof Interface.Type

/** Addresses told at most: each costs every client a few checks. */
const maxUplinks = 8

/**
 * The addresses of this host that clients may reach it at: where the portal is reached from, and one per family of each
 * device with a default route. `isTunnel` devices, and whatever only this host can reach, never count. Bridges do not
 * either, unless a default route leads there: then the bridge is the uplink.
 */
export const uplinkAddresses = (
  reachedFrom: string | null,
  defaults: ReadonlyArray<Route>,
  interfaces: ReadonlyArray<Interface>,
  isTunnel: (device: string) => boolean
): ReadonlyArray<string> => {
  const found = new Set<string>()
  const deviceOf = (address: string) =>
    interfaces.find((entry) => entry.addr_info?.some((info) => canonical(info.local) === address))?.ifname
  const add = (text: string | undefined): boolean => {
    const address = canonical(text)
    const device = address === undefined ? undefined : deviceOf(address)
    if (address === undefined || device === undefined || isTunnel(device) || !isReachable(address)) return false
    if (found.size < maxUplinks) found.add(address)
    return true
  }
  add(reachedFrom ?? undefined)
  for (const { dev, gateway, prefsrc } of defaults) {
    if (dev === undefined || add(prefsrc)) continue
    const infos = interfaces.find((entry) => entry.ifname === dev)?.addr_info ?? []
    const v6 = gateway?.includes(":")
    for (const family of v6 === undefined ? [false, true] : [v6]) {
      const fits = infos.find(
        ({ deprecated, local, scope }) =>
          scope === "global" && deprecated !== true && local?.includes(":") === family && isReachable(local)
      )
      add(fits?.local)
    }
  }
  return [...found]
}

const canonical = (text: string | undefined): string | undefined => {
  const address = text === undefined ? undefined : parseAddress(text)
  return address === undefined ? undefined : formatAddress(address)
}

/** By others. */
const isReachable = (text: string): boolean => {
  const address = parseAddress(text)
  if (address === undefined || isLoopback(address) || isUnspecified(address) || isMulticast(address)) return false
  return !isLinkLocal(address)
}
