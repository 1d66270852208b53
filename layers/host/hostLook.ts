/**
 * What is there of the host's network, read without a helper program: a look takes a tenth of a millisecond, and asking
 * whether anything has happened a tenth of that.
 */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import { flowsOf, forgetUntranslated } from "../../src/host/conntrack.ts"
import type { HostPlan } from "../../src/host/HostNetwork.ts"
import {
  acceptAdvertisements,
  deviceForwarding,
  globalForwarding,
  type HostObserved,
  type HostWanted,
  prefixOf
} from "../../src/host/hostPlan.ts"
import {
  addressesOn,
  forwardingOf,
  isMove,
  type Link,
  linkByIndex,
  linkByName,
  type NetlinkMessage,
  type NetlinkRequest,
  readAddress,
  readForwarding,
  readLink,
  readRoute,
  type RouteTaken,
  routeTo,
  watchedGroups
} from "../../src/host/netlink.ts"
import {
  elementsOf,
  objectsOf,
  partsOf,
  readCounter,
  readElements,
  readGeneration,
  readKeys,
  readPart,
  readSetName,
  rulesGeneration,
  tableNamed
} from "../../src/host/nftNetlink.ts"
import { type PathCount, pathCounts, pathSets, type PathSet } from "../../src/host/pathCounters.ts"
import { parseNetwork } from "../../src/packet/address.ts"
import { NativeError } from "../dataplane/native/nativeError.ts"
import { type Netlink, openNetlink } from "../dataplane/native/netlink.ts"
import { isRight } from "./hostSysctl.ts"

/** What has happened since the last time somebody asked. */
interface HostEvents {
  /** Of links, addresses, routes or forwarding. */
  readonly any: boolean
  /** Of the host's own addresses, its default routes, or routes that touch the plan's ranges. */
  readonly moved: boolean
}

/** Of other devices: what they did before, they are to go on with. */
export interface SeenDevices {
  /** Have been seen to forward, by index. */
  readonly forwarding: Set<number>
  /** Get routes by advertisements of routers, by name: a device that is made anew has its setting of the beginning. */
  readonly advertised: Set<string>
}

export interface HostLook {
  readonly events: (plan: HostPlan | null) => HostEvents
  /** Grows with every `events` that had any, or could not tell. */
  readonly happened: () => number
  /** Grows with every change of an nftables rule, whoever made it; `null` where the kernel does not say. */
  readonly generation: () => number | null
  /**
   * A table (family `inet`) as the kernel has it, to be compared: without what counts or differs from one making to the next.
   * `null`: there is none.
   */
  readonly table: (table: string) => string | null | NativeError
  /** What a table has counted so far. */
  readonly paths: (table: string) => ReadonlyArray<PathCount> | NativeError
  /** Has the kernel forget flows that began while nothing masqueraded; how many. */
  readonly forgetUntranslated: (inside: ReadonlyArray<string>) => number
  readonly link: (name: string) => Link | null | NativeError
  /** All but the table. `index` is the device's; another one of the same name is not ours. */
  readonly observe: (
    wanted: HostWanted,
    index: number | null,
    seen: SeenDevices
  ) => Omit<HostObserved, "table"> | NativeError
}

/** Opened on first use and again after a failure; closed with the scope. */
export const makeHostLook: Effect.Effect<HostLook, never, Scope.Scope> = Effect.gen(function* () {
  const open = new Map<string, Netlink>()
  yield* Effect.addFinalizer(() =>
    Effect.sync(() => {
      for (const socket of open.values()) socket.close()
    })
  )
  const socket = (what: "events" | "route" | "netfilter"): Netlink | NativeError => {
    const known = open.get(what)
    if (known !== undefined) return known
    const opened = openNetlink(what === "netfilter" ? "netfilter" : "route", what === "events" ? watchedGroups : 0)
    if (!(opened instanceof NativeError)) open.set(what, opened)
    return opened
  }
  const ask = <A>(
    request: NetlinkRequest,
    read: (message: NetlinkMessage) => A | undefined,
    what: "route" | "netfilter" = "route"
  ): ReadonlyArray<A> | NativeError => {
    const asked = socket(what)
    if (asked instanceof NativeError) return asked
    const answers = asked.ask(request)
    return answers instanceof NativeError ? answers : answers.flatMap((message) => read(message) ?? [])
  }

  const link = (request: NetlinkRequest): Link | null | NativeError => {
    const found = ask(request, readLink)
    if (!(found instanceof NativeError)) return found[0] ?? null
    return found.errno === "ENODEV" ? null : found
  }

  const routes = (wanted: HostWanted): ReadonlyMap<string, RouteTaken> => {
    const found = new Map<string, RouteTaken>()
    for (const { network, probes } of wanted.routes) {
      for (const probe of probes) {
        const taken = ask(routeTo(probe), readRoute)
        if (taken instanceof NativeError || taken[0] === undefined) continue
        found.set(network, taken[0])
        // A longer one has a part of the network only.
        if (taken[0].prefix <= prefixOf(network)) break
      }
    }
    return found
  }

  /** Globally, of our device, and of each device that has been seen to forward before: replies come in by those. */
  const forwarding = (wanted: HostWanted, device: number, seen: SeenDevices): ReadonlyMap<string, boolean> => {
    const found = new Map<string, boolean>()
    for (const path of wanted.v6 ? [...seen.advertised].map(acceptAdvertisements) : []) {
      const right = isRight(path)
      if (right !== null) found.set(path, right)
    }
    for (const family of wanted.v6 ? ([4, 6] as const) : ([4] as const)) {
      const all = ask(forwardingOf(family), readForwarding)
      if (all instanceof NativeError) continue
      const globally = all.find(({ index }) => index === allDevices)?.on ?? true
      found.set(globalForwarding[family], globally)
      // Switched on globally, it is on everywhere.
      if (!globally) continue
      for (const { index, on } of all) {
        if (index === device) found.set(deviceForwarding(wanted.device, family), on)
        else if (family === 4 && index > 0) {
          if (on) seen.forwarding.add(index)
          else if (seen.forwarding.has(index)) {
            const other = link(linkByIndex(index))
            if (other !== null && !(other instanceof NativeError)) found.set(deviceForwarding(other.name, 4), false)
          }
        }
      }
    }
    return found
  }

  const generation = (): number | null => {
    const found = ask(rulesGeneration, readGeneration, "netfilter")
    return found instanceof NativeError ? null : (found[0] ?? null)
  }

  const tableNow = (table: string): string | null | NativeError => {
    const lines: Array<string> = []
    const sets: Array<string> = []
    const read = (message: NetlinkMessage) => {
      const set = readSetName(table, message)
      if (set !== undefined) sets.push(set)
      return readPart(table, message)
    }
    const there = ask(tableNamed(table), read, "netfilter")
    if (there instanceof NativeError) return there.errno === "ENOENT" ? null : there
    lines.push(...there)
    for (const request of partsOf(table)) {
      const found = ask(request, read, "netfilter")
      if (found instanceof NativeError) return found
      lines.push(...found)
    }
    for (const set of sets) {
      const found = ask(elementsOf(table, set), readKeys, "netfilter")
      if (found instanceof NativeError) return found
      lines.push(set, ...found.flat())
    }
    return lines.join("\n")
  }

  let happened = 0
  return {
    happened: () => happened,
    events: (plan) => {
      const watched = socket("events")
      const events = watched instanceof NativeError ? null : watched.events()
      if (events?.length === 0) return { any: false, moved: false }
      happened++
      if (watched instanceof NativeError) return { any: false, moved: false }
      if (events === null) return { any: true, moved: true }
      const ranges = [...(plan?.tunnelNetworks ?? []), ...(plan?.proxyNetworks ?? [])]
      const networks = ranges.flatMap((range) => parseNetwork(range) ?? [])
      return { any: true, moved: events.some((event) => isMove(event, networks)) }
    },
    generation,
    table: (table) => {
      // What others change meanwhile tears what is read.
      for (let tries = 0; ; tries++) {
        const before = generation()
        const read = tableNow(table)
        if (tries === mostReads || before === generation()) return read
      }
    },
    paths: (table) => {
      const counters = ask(objectsOf(table), readCounter, "netfilter")
      if (counters instanceof NativeError) return counters
      const sets: Array<PathSet> = []
      for (const name of pathSets) {
        const found = ask(elementsOf(table, name), readElements, "netfilter")
        if (found instanceof NativeError) return found
        sets.push({ name, elements: found.flat() })
      }
      return pathCounts(counters, sets, (index) => {
        const found = link(linkByIndex(index))
        return found === null || found instanceof NativeError ? String(index) : found.name
      })
    },
    forgetUntranslated: (inside) => {
      const networks = inside.flatMap((network) => parseNetwork(network) ?? [])
      let forgotten = 0
      for (const family of [4, 6] as const) {
        const flows = ask(flowsOf(family), (flow) => forgetUntranslated(flow, networks), "netfilter")
        if (flows instanceof NativeError) continue
        for (const forget of flows) if (!(ask(forget, () => undefined, "netfilter") instanceof NativeError)) forgotten++
      }
      return forgotten
    },
    link: (name) => link(linkByName(name)),
    observe: (wanted, index, seen) => {
      const found = link(linkByName(wanted.device))
      if (found instanceof NativeError) return found
      const ours = found !== null && (index === null || found.index === index) ? found : null
      const addresses = new Set<string>()
      for (const family of ours === null ? [] : wanted.v6 ? ([4, 6] as const) : ([4] as const)) {
        const on = ask(addressesOn(ours!.index, family), readAddress)
        if (on instanceof NativeError) return on
        for (const address of on) if (address.index === ours!.index) addresses.add(address.address)
      }
      const elsewhere = ours === null && index !== null ? link(linkByIndex(index)) : null
      const renamed = elsewhere === null || elsewhere instanceof NativeError ? {} : { renamed: elsewhere.name }
      return {
        link: ours,
        ...renamed,
        addresses,
        routes: routes(wanted),
        forwarding: forwarding(wanted, ours?.index ?? 0, seen)
      }
    }
  }
})

const mostReads = 5

/** The index by which netconf messages mean all devices. */
const allDevices = -1
