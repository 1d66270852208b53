/** The host's addresses and routes, as `ip` tells them. */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type { HostError, HostPlan } from "../../src/host/HostNetwork.ts"
import { isRead, judgeOverlaps, type RangeInUse, Route, Rule } from "../../src/host/overlap.ts"
import { Interface, uplinkAddresses } from "../../src/host/uplinks.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { runCommand } from "./hostCommand.ts"
import { decodeOutput, explain } from "./hostErrors.ts"
import { readText } from "./readText.ts"

export const ip = (args: ReadonlyArray<string>, input?: string): Effect.Effect<string, HostError> =>
  runCommand("ip", args, input === undefined ? {} : { input }).pipe(
    Effect.mapError(explain(input === undefined ? "read the host's network" : "configure the tunnel device"))
  )

export const listInterfaces = Effect.suspend(() =>
  ip(["-j", "address"]).pipe(Effect.flatMap(decodeOutput(Interfaces, "ip -j address")))
)

export const listRoutes = (family: "-4" | "-6", ...selector: ReadonlyArray<string>) =>
  ip(["-j", family, "route", "show", ...selector]).pipe(Effect.flatMap(decodeOutput(Routes, "ip -j route")))

const listRules = (family: "-4" | "-6") =>
  ip(["-j", family, "rule"]).pipe(Effect.flatMap(decodeOutput(Rules, "ip -j rule")))

export const ownAddresses = Effect.map(listInterfaces, (interfaces) => {
  const found = new Set<string>()
  for (const { addr_info: entries } of interfaces) {
    for (const { local } of entries ?? []) {
      const words = local === undefined ? undefined : parseAddress(local)
      if (words !== undefined) found.add(formatAddress(words))
    }
  }
  return [...found]
})

export const uplinks = Effect.fnUntraced(function* (reachedFrom: string | null) {
  const interfaces = yield* listInterfaces
  const v4 = yield* listRoutes("-4", "default").pipe(Effect.orElseSucceed(() => []))
  // A host without IPv6 has nothing to say about it.
  const v6 = yield* listRoutes("-6", "default").pipe(Effect.orElseSucceed(() => []))
  return uplinkAddresses(reachedFrom, [...v4, ...v6], interfaces, isTunnelDevice)
})

/** TUN, TAP and WireGuard devices. */
const isTunnelDevice = (device: string): boolean =>
  fs.existsSync(`/sys/class/net/${device}/tun_flags`) ||
  readText(`/sys/class/net/${device}/uevent`)?.includes("DEVTYPE=wireguard") === true

const Interfaces = Schema.fromJsonString(Schema.Array(Interface))

const Rules = Schema.fromJsonString(Schema.Array(Rule))

const Routes = Schema.fromJsonString(Schema.Array(Route))

const familyOf = (network: string): "-4" | "-6" => (network.includes(":") ? "-6" : "-4")

/** Asks for the routes inside and around each range only: a router may have a million others. */
export const overlapsOf = Effect.fnUntraced(function* (plan: HostPlan, v6: boolean) {
  const ranges: Array<RangeInUse> = []
  for (const [what, networks] of [
    ["tunnel", plan.tunnelNetworks],
    ["proxy", plan.proxyNetworks]
  ] as const) {
    for (const network of networks) {
      const family = familyOf(network)
      if (family === "-6" && !v6) continue
      const around = yield* listRoutes(family, "table", "all", "match", network)
      const inside = yield* listRoutes(family, "table", "all", "root", network)
      const routes = [...around, ...inside]
      const rules = routes.some(({ table }) => table !== undefined && table !== "local")
        ? yield* listRules(family)
        : null
      ranges.push({ what, network, routes: rules === null ? routes : routes.filter((route) => isRead(route, rules)) })
    }
  }
  return judgeOverlaps(ranges, plan.device, plan.fixedRanges, [plan.gateway4, plan.gateway6])
})
