/** What of the gateway's ranges the host uses for something else, and whether the gateway can live with it. Pure. */
import * as Schema from "effect/Schema"
import { contains, formatNetwork, type Network, parseNetwork } from "../packet/address.ts"
import type { ForeignNetwork } from "./ForeignNetworks.ts"

/** A route as `ip -j route show table all` prints it; more fields come along. */
export const Route = Schema.Struct({
  dst: Schema.String,
  type: Schema.optionalKey(Schema.String),
  dev: Schema.optionalKey(Schema.String),
  gateway: Schema.optionalKey(Schema.String),
  prefsrc: Schema.optionalKey(Schema.String),
  table: Schema.optionalKey(Schema.String)
})
export type Route = typeof Route.Type

/** A rule as `ip -j rule` prints it; more fields come along. */
export const Rule = Schema.Struct({
  table: Schema.optionalKey(Schema.String),
  /** The tables of VRF devices. */
  l3mdev: Schema.optionalKey(Schema.Null)
})
export type Rule = typeof Rule.Type

/** Whether packets may be routed by it: whoever puts routes into a table that no rule names does not use them yet. */
export const isRead = (route: Route, rules: ReadonlyArray<Rule>): boolean =>
  rules.some(({ l3mdev, table }) => l3mdev === null || table === (route.table ?? "main"))

/** One of the gateway's ranges, and the host's routes inside of it and around it. */
export interface RangeInUse {
  readonly what: "tunnel" | "proxy"
  readonly network: string
  readonly routes: ReadonlyArray<Route>
}

export interface Overlaps {
  /** One line with the fix: the gateway cannot work beside this. */
  readonly conflict: string | null
  /** Parts that are left to the host. */
  readonly foreign: ReadonlyArray<ForeignNetwork>
}

/** More of them are not told apart from the others' traffic. */
const maxForeign = 1_024

/**
 * Default routes, the gateway's own device and networks merely closed off by a wider route do not count. Where the ranges
 * may be moved, every overlap is a conflict. Where they may not (`fixed`), a part that the host uses is left to it: its
 * routes there are the longer ones. A route for all of the tunnel would take the replies to clients, or lose its network
 * to the tunnel; and nobody else may have the gateway's own tunnel addresses (`own`).
 */
export const judgeOverlaps = (
  ranges: ReadonlyArray<RangeInUse>,
  device: string,
  fixed: boolean,
  own: ReadonlyArray<string>
): Overlaps => {
  const foreign = new Map<string, Foreign>()
  let conflict: string | null = null
  for (const { network: text, routes, what } of ranges) {
    const range = parseNetwork(text)!
    for (const route of routes) {
      const theirs = networkOf(route)
      if (route.dev === device || theirs === undefined || !isInUse(route, theirs)) continue
      const all = theirs.prefix <= range.prefix
      const who = describe(route)
      conflict ??= fixed
        ? conflictOfFixed(what, text, route, all, who, own)
        : `the ${what} network ${text} overlaps ${who}: choose another range under "network:" in the configuration, or remove that ${route.type === "local" ? "address" : "route"}`
      // While the gateway runs its route for the tunnel is the longer one, or is put back.
      if (what === "tunnel" && all) continue
      const network = formatNetwork(all ? range : theirs)
      if (!foreign.has(network)) foreign.set(network, { network, who, parsed: all ? range : theirs })
    }
  }
  return { conflict, foreign: outermost([...foreign.values()]) }
}

interface Foreign extends ForeignNetwork {
  readonly parsed: Network
}

const conflictOfFixed = (
  what: "tunnel" | "proxy",
  range: string,
  route: Route,
  all: boolean,
  who: string,
  own: ReadonlyArray<string>
): string | null => {
  if (route.type === "local" && own.includes(route.dst)) {
    return `the gateway's tunnel address ${route.dst} is taken by ${who}: remove it there, or ${ownHost}`
  }
  if (what === "tunnel" && all) {
    return `${who} covers the whole tunnel network ${range}, and one would take the other's packets: narrow that route, or ${ownHost} (the portal chooses the range)`
  }
  return null
}

const ownHost = "run the gateway on a host or in a network namespace of its own"

/** Without those inside of others: addresses of the host are mostly in a network that it has a route to. */
const outermost = (all: ReadonlyArray<Foreign>): ReadonlyArray<ForeignNetwork> => {
  const kept: Array<Foreign> = []
  for (const one of all.toSorted((a, b) => a.parsed.prefix - b.parsed.prefix)) {
    if (kept.length >= maxForeign) break
    if (!kept.some(({ parsed }) => contains(parsed, one.parsed.address))) kept.push(one)
  }
  return kept.map(({ network, who }) => ({ network, who }))
}

const describe = ({ dev, dst, gateway, table, type }: Route): string => {
  const on = dev === undefined ? "" : ` dev ${dev}`
  if (type === "local") return `the host's own address ${dst}${dev === undefined ? "" : ` (${dev})`}`
  const via = gateway === undefined ? "" : ` via ${gateway}`
  return `the host's route ${dst}${via}${on}${table === undefined || table === "main" ? "" : ` table ${table}`}`
}

const networkOf = ({ dst }: Route): Network | undefined =>
  parseNetwork(dst.includes("/") ? dst : `${dst}/${dst.includes(":") ? 128 : 32}`)

const isInUse = (route: Route, { prefix }: Network): boolean => {
  if (route.type !== undefined && passive.has(route.type)) return false
  // VPN clients split the default route into two halves.
  return prefix > (route.dst.includes(":") ? 1 : 97)
}

const passive = new Set(["broadcast", "multicast", "anycast", "unreachable", "blackhole", "prohibit", "throw"])
