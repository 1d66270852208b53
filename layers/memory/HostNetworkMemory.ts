/** `HostNetwork` without a host: for tests and for gateways that live in memory. What it has can be taken from it. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import { HostNetwork, type HostPlan } from "../../src/host/HostNetwork.ts"
import {
  compare,
  type HostObserved,
  type HostWanted,
  hostWanted,
  nothingThere,
  type Repair
} from "../../src/host/hostPlan.ts"

export interface SimulatedHost {
  /** The plans in force, oldest first. */
  readonly plans: ReadonlyArray<HostPlan>
  /** Gives the host other addresses, which completes `changed`. */
  readonly setAddresses: (addresses: ReadonlyArray<string>) => void
  /** What is there of the plan in force. */
  readonly observed: () => HostObserved
  /** Somebody changes the host behind the gateway's back, which completes `stirred`. */
  readonly change: (by: (host: HostObserved) => HostObserved) => void
  readonly layer: Layer.Layer<HostNetwork>
}

/** What is there once the repair is done. */
export const repaired = (wanted: HostWanted, host: HostObserved, repair: Repair): HostObserved => {
  switch (repair._tag) {
    case "Device":
      return {
        ...host,
        link: { index: index++, up: false, mtu: 1500, queue: 500 },
        addresses: new Set(),
        routes: new Map()
      }
    case "Table":
      return { ...host, table: "right" }
    case "Forwarding":
      return { ...host, forwarding: new Map([...host.forwarding, [repair.path, true]]) }
    case "Ip":
      return repair.lines.reduce((before, line) => afterLine(wanted, before, line), host)
  }
}

let index = 7

/** As `ip` would: a device that is down has no routes. */
const afterLine = (wanted: HostWanted, host: HostObserved, line: string): HostObserved => {
  const { link } = host
  const [object, , subject = ""] = line.split(" ")
  if (link === null || line.includes("addrgenmode")) return host
  if (object === "link") {
    const number = (name: string): number => Number(new RegExp(`${name} (\\d+)`).exec(line)?.[1])
    return { ...host, link: { ...link, up: true, mtu: number("mtu"), queue: number("txqueuelen") } }
  }
  if (object === "address") return { ...host, addresses: new Set([...host.addresses, subject]) }
  const source = wanted.routes.find(({ network }) => network === subject)?.source ?? null
  if (!link.up || ![...host.addresses].some((address) => address.startsWith(`${source}/`))) return host
  const taken = { device: link.index, prefix: Number(subject.split("/")[1]), source }
  return { ...host, routes: new Map([...host.routes, [subject, taken]]) }
}

/** A host with these addresses; a configured gateway adds its own two for as long as its scope lives. */
export const make = (addresses: ReadonlyArray<string> = ["127.0.0.1", "::1"]): SimulatedHost => {
  const plans: Array<HostPlan> = []
  const news = Effect.runSync(Queue.sliding<void>(1))
  const stirs = Effect.runSync(Queue.sliding<void>(1))
  let own = addresses
  const wanted = (): HostWanted => hostWanted(plans.at(-1)!, true)
  const settled = (): HostObserved =>
    compare(wanted(), nothingThere(wanted())).reduce(
      (host, repair) => repaired(wanted(), host, repair),
      nothingThere(wanted())
    )
  let there: HostObserved | null = null
  const observed = (): HostObserved => (there ??= settled())
  return {
    plans,
    setAddresses: (next) => {
      own = next
      Queue.offerUnsafe(news, undefined)
    },
    observed,
    change: (by) => {
      there = by(observed())
      Queue.offerUnsafe(stirs, undefined)
    },
    layer: Layer.succeed(
      HostNetwork,
      HostNetwork.of({
        configure: (plan) =>
          Effect.as(
            Effect.acquireRelease(
              Effect.sync(() => {
                plans.push(plan)
                there = null
              }),
              () =>
                Effect.sync(
                  () =>
                    void plans.splice(
                      plans.findIndex(({ device }) => device === plan.device),
                      1
                    )
                )
            ),
            []
          ),
        refilter: (allowGatewayHost) => Effect.sync(() => void plans.push({ ...plans.pop()!, allowGatewayHost })),
        lookAtRanges: Effect.void,
        repair: Effect.fnUntraced(function* (remakeDevice) {
          const lost: Array<string> = []
          let remade = false
          for (;;) {
            const repairs = plans.length === 0 ? [] : compare(wanted(), observed())
            if (repairs.length === 0) return { repaired: lost, refused: [], remade }
            for (const repair of repairs) {
              if (repair._tag === "Device") {
                const failure = yield* Effect.flip(remakeDevice).pipe(Effect.orElseSucceed(() => null))
                if (failure !== null) return { repaired: lost, refused: [failure.message], remade }
                remade = true
              }
              there = repaired(wanted(), observed(), repair)
              if (!remade || repair._tag === "Device") lost.push(repair.lost)
            }
          }
        }),
        stirred: Queue.take(stirs),
        integrate: () => Effect.succeed(new Set()),
        rulesGeneration: Effect.succeed(null),
        countPaths: () => Effect.void,
        pathCounts: () => Effect.succeed([]),
        blame: () => Effect.succeed({ likely: "nobody", fix: "nothing", sure: false }),
        ownAddresses: Effect.sync(() => [...own, ...plans.flatMap((plan) => [plan.gateway4, plan.gateway6])]),
        broadcasts: Effect.succeed([]),
        uplinkAddresses: (reachedFrom) => Effect.succeed(reachedFrom === null ? [] : [reachedFrom]),
        changed: Queue.take(news)
      })
    )
  }
}
