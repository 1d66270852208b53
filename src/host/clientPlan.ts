/**
 * What a client's host has to be like for its tunnel: addresses, routes and rules of policy routing, as `ip` takes them.
 * A network that contains the endpoint would lead the tunnel's own packets into the tunnel; so would a default route. These
 * are routed by a table of our own, which the endpoint's packets pass by: whatever becomes of the host's other routes,
 * those packets go where they would go without a tunnel.
 */
import * as Schema from "effect/Schema"
import { isInside } from "../config/loopFree.ts"
import { formatNetwork, parseNetwork } from "../packet/address.ts"

/** What the tunnel is to carry. */
export interface ClientTunnel {
  /** `address/prefix`. */
  readonly addresses: ReadonlyArray<string>
  /** Canonical networks. */
  readonly networks: ReadonlyArray<string>
  /** Canonical address of the gateway. */
  readonly endpoint: string
  readonly table: "auto" | "off" | number
  /** The device can have IPv6. */
  readonly v6: boolean
}

export interface ClientRoute {
  readonly network: string
  /** `null`: the main table. */
  readonly table: number | null
}

interface ClientRule {
  readonly family: 4 | 6
  readonly priority: number
  /** `null`: any destination. */
  readonly to: string | null
  /** The action, as `ip rule` writes it. */
  readonly action: string
}

export interface ClientPlan {
  readonly addresses: ReadonlyArray<string>
  readonly routes: ReadonlyArray<ClientRoute>
  readonly rules: ReadonlyArray<ClientRule>
}

/** Ours alone: rules that name it, or lie in this span and look like ours, are left of an earlier run. */
export const clientTable = 0x53414c59
const firstPriority = 200
/** Two rules for each prefix length that a network around an address may have. */
const lastPriority = firstPriority + 2 * 129 + 1

export const clientPlan = (tunnel: ClientTunnel): ClientPlan => {
  const { endpoint, table, v6 } = tunnel
  const carried = (text: string): boolean => v6 || !text.includes(":")
  const addresses = tunnel.addresses.filter(carried)
  if (table === "off") return { addresses, routes: [], rules: [] }
  const networks = [...new Set(tunnel.networks)].filter(carried)
  if (table !== "auto") return { addresses, routes: networks.map((network) => ({ network, table })), rules: [] }
  const diverted = networks.filter((network) => prefixOf(network) === 0 || isInside(endpoint, network))
  return {
    addresses,
    routes: networks.map((network) => ({ network, table: diverted.includes(network) ? clientTable : null })),
    rules: ([4, 6] as const).flatMap((family) =>
      rulesFor(
        family,
        diverted.filter((network) => familyOf(network) === family),
        familyOf(endpoint) === family ? endpoint : null
      )
    )
  }
}

/** The longest prefix counts first, as in one table: what the host routes more specifically stays with the host. */
const rulesFor = (family: 4 | 6, diverted: ReadonlyArray<string>, endpoint: string | null): Array<ClientRule> => {
  if (diverted.length === 0) return []
  const rule = (priority: number, to: string | null, action: string): ClientRule => ({ family, priority, to, action })
  const rules = endpoint === null ? [] : [rule(firstPriority, endpoint, `goto ${lastPriority}`)]
  for (const [i, network] of diverted.toSorted((a, b) => prefixOf(b) - prefixOf(a)).entries()) {
    const prefix = prefixOf(network)
    const to = prefix === 0 ? null : network
    const priority = firstPriority + 1 + 2 * i
    rules.push(rule(priority, to, `lookup main suppress_prefixlength ${prefix}`))
    rules.push(rule(priority + 1, to, `lookup ${clientTable}`))
  }
  return [...rules, rule(lastPriority, null, "nop")]
}

export const familyOf = (text: string): 4 | 6 => (text.includes(":") ? 6 : 4)

const prefixOf = (network: string): number => Number(network.slice(network.indexOf("/") + 1))

/** A rule as `ip -j rule` prints it. */
export const ObservedRule = Schema.Struct({
  priority: Schema.Finite,
  dst: Schema.optionalKey(Schema.String),
  dstlen: Schema.optionalKey(Schema.Finite),
  table: Schema.optionalKey(Schema.String),
  suppress_prefixlen: Schema.optionalKey(Schema.Finite),
  goto: Schema.optionalKey(Schema.Finite),
  nop: Schema.optionalKey(Schema.Null)
})

/** A route as `ip -j route show table all` prints it. */
export const ObservedRoute = Schema.Struct({
  dst: Schema.String,
  type: Schema.optionalKey(Schema.String),
  table: Schema.optionalKey(Schema.String)
})

/** A device as `ip -j address` prints it. */
export const ObservedDevice = Schema.Struct({
  flags: Schema.optionalKey(Schema.Array(Schema.String)),
  mtu: Schema.optionalKey(Schema.Finite),
  addr_info: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({ local: Schema.optionalKey(Schema.String), prefixlen: Schema.optionalKey(Schema.Finite) })
    )
  )
})

export interface ObservedClient {
  readonly device: typeof ObservedDevice.Type
  /** Of the device. */
  readonly routes: Readonly<Record<4 | 6, ReadonlyArray<typeof ObservedRoute.Type>>>
  /** Of the host. */
  readonly rules: Readonly<Record<4 | 6, ReadonlyArray<typeof ObservedRule.Type>>>
}

/** Lines for `ip -batch`, each list in one go, in this order. */
export interface ClientRepair {
  readonly device: ReadonlyArray<string>
  readonly rules: Readonly<Record<4 | 6, ReadonlyArray<string>>>
  /** What an earlier plan had and this one has not. */
  readonly past: ReadonlyArray<string>
  /** What was not as it should be, for people. */
  readonly missing: ReadonlyArray<string>
}

/** What makes the host as observed that of the plan. Foreign addresses, routes and rules are left alone. */
export const clientRepair = (
  device: string,
  mtu: number,
  plan: ClientPlan,
  { device: link, routes, rules }: ObservedClient
): ClientRepair => {
  const missing: Array<string> = []
  const lines: Array<string> = []
  const past: Array<string> = []
  // A device that is down has no routes, and may have lost its IPv6 addresses with them.
  if (link.flags?.includes("UP") !== true || link.mtu !== mtu) {
    missing.push("the link")
    lines.push(`link set dev ${device} mtu ${mtu} up`)
  }
  const has = new Set(link.addr_info?.map(({ local, prefixlen }) => `${local}/${prefixlen}`))
  for (const address of plan.addresses) {
    if (has.has(address)) continue
    missing.push(`address ${address}`)
    // What the tunnel carries is in `networks`: the address's own network brings no route along.
    const alone = prefixOf(address) === (familyOf(address) === 4 ? 32 : 128) ? "" : " noprefixroute"
    lines.push(`address add ${address} dev ${device}${familyOf(address) === 6 ? " nodad" : ""}${alone}`)
  }
  const wanted = new Set(plan.routes.map(({ network, table }) => `${network} ${table ?? "main"}`))
  const there = new Set<string>()
  for (const family of [4, 6] as const) {
    for (const { dst, table = "main" } of routes[family]) {
      const network = networkOf(dst, family)
      there.add(`${network} ${table}`)
      const ours = table === String(clientTable) || (table === "main" && plan.routes.some((r) => r.network === network))
      if (ours && !wanted.has(`${network} ${table}`)) past.push(`route del ${network} dev ${device} table ${table}`)
    }
  }
  for (const { network, table } of plan.routes) {
    if (there.has(`${network} ${table ?? "main"}`)) continue
    missing.push(`route ${network}`)
    lines.push(`route add ${network} dev ${device}${table === null ? "" : ` table ${table}`}`)
  }
  const ruleLines = (family: 4 | 6): Array<string> => {
    const planned = plan.rules.filter((rule) => rule.family === family).map(textOf)
    const observed = new Set(rules[family].map(ruleText))
    const absent = planned.filter((rule) => !observed.has(rule))
    missing.push(...absent.map((rule) => `rule ${rule}`))
    const gone = rules[family].filter((rule) => isOurs(rule) && !planned.includes(ruleText(rule)))
    return [...absent.map((rule) => `rule add ${rule}`), ...gone.map((rule) => `rule del ${ruleText(rule)}`)]
  }
  return { device: lines, rules: { 4: ruleLines(4), 6: ruleLines(6) }, past, missing }
}

/** Lines that take our rules away; the routes go with the device. */
export const clientRemoval = (rules: ReadonlyArray<typeof ObservedRule.Type>): ReadonlyArray<string> =>
  rules.filter(isOurs).map((rule) => `rule del ${ruleText(rule)}`)

const isOurs = ({ goto, nop, priority, suppress_prefixlen: suppress, table }: typeof ObservedRule.Type): boolean => {
  if (table === String(clientTable)) return true
  if (priority === lastPriority) return nop !== undefined
  if (priority === firstPriority) return goto === lastPriority
  return priority > firstPriority && priority < lastPriority && table === "main" && suppress !== undefined
}

const textOf = ({ action, priority, to }: ClientRule): string =>
  `pref ${priority}${to === null ? "" : ` to ${to}`} ${action}`

const ruleText = (rule: typeof ObservedRule.Type): string => {
  const { dst, dstlen, goto, nop, priority, suppress_prefixlen: suppress, table } = rule
  const to = dst === undefined ? "" : ` to ${dst}${dstlen === undefined ? "" : `/${dstlen}`}`
  const lookup = `lookup ${table}${suppress === undefined ? "" : ` suppress_prefixlength ${suppress}`}`
  return `pref ${priority}${to} ${goto !== undefined ? `goto ${goto}` : nop !== undefined ? "nop" : lookup}`
}

/** A destination as `ip` prints it, which leaves out the prefix of a host. */
export const networkOf = (dst: string, family: 4 | 6): string => {
  if (dst === "default") return family === 4 ? "0.0.0.0/0" : "::/0"
  const network = parseNetwork(dst)
  return network === undefined ? dst : formatNetwork(network)
}
