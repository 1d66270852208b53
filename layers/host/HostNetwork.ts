/**
 * `HostNetwork` by iproute2, nftables and /proc/sys. Needs CAP_NET_ADMIN, which the helpers must inherit (ambient
 * capabilities). Sysctls are only ever raised, and left that way at the end: other services may rely on them by then.
 */
import { spawn } from "node:child_process"
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import * as Queue from "effect/Queue"
import * as Schema from "effect/Schema"
import {
  deviceOfTable,
  firewallScript,
  firewallTable,
  foreignScript,
  optionalScripts,
  removeScript
} from "../../src/host/firewall.ts"
import { type ForeignNetwork, ForeignNetworks } from "../../src/host/ForeignNetworks.ts"
import { HostError, HostNetwork, type HostPlan } from "../../src/host/HostNetwork.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { judgeOverlaps, type RangeInUse, Route } from "../../src/host/overlap.ts"
import { broadcastAddresses } from "../../src/host/broadcastAddresses.ts"
import { freePortRange, freePrivilegedRange, listeningPorts } from "../../src/host/portRange.ts"
import { Interface, uplinkAddresses } from "../../src/host/uplinks.ts"
import { superviseForever } from "../../src/loops/superviseForever.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { foreignFirewall } from "./foreignFirewall.ts"
import { findProgram, runCommand } from "./hostCommand.ts"
import { decodeOutput, explain } from "./hostErrors.ts"
import { enableForwarding, ipv6Missing } from "./hostSysctl.ts"
import { nft, nftList } from "./nftables.ts"

export const layer: Layer.Layer<HostNetwork, never, ForeignNetworks | IpFamilies> = Layer.effect(
  HostNetwork,
  Effect.gen(function* () {
    const context = yield* Effect.context<ForeignNetworks | IpFamilies>()
    let inForce: HostPlan | null = null
    const news = yield* Queue.sliding<void>(1)
    yield* Effect.forkScoped(superviseForever("HostNetwork.watch", watch(news)))
    return HostNetwork.of({
      configure: (plan) =>
        configure(plan).pipe(
          Effect.provideContext(context),
          Effect.tap(
            Effect.acquireRelease(
              Effect.sync(() => void (inForce = plan)),
              () => Effect.sync(() => void (inForce = null))
            )
          )
        ),
      lookAtRanges: Effect.suspend(() =>
        inForce === null ? Effect.void : Effect.provideContext(lookAgain(inForce), context)
      ),
      ownAddresses,
      broadcasts: Effect.map(listInterfaces, broadcastAddresses),
      uplinkAddresses: uplinks,
      // A change comes as a burst of lines: one completion for all of it.
      changed: Queue.take(news).pipe(Effect.andThen(Effect.sleep("200 millis")), Effect.andThen(Queue.clear(news)))
    })
  })
)

const configure = Effect.fn("HostNetwork.configure")(function* (plan: HostPlan) {
  const warnings: Array<string> = []
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(plan.device)) {
    return yield* fail(
      `the device name ${JSON.stringify(plan.device)} cannot be used: take letters and digits, at most 15`
    )
  }
  const missing = ipv6Missing(plan.device)
  const families = yield* IpFamilies
  const foreign = yield* ForeignNetworks
  yield* families.found("device", missing)
  const v6 = missing === null
  const overlaps = yield* overlapsOf(plan, v6)
  if (overlaps.conflict !== null) return yield* fail(overlaps.conflict)
  yield* foreign.found(overlaps.foreign)
  // Filtered before it is up and until it is down again.
  if (plan.firewall === "nftables") {
    const table = firewallTable(plan.device)
    yield* removeLeftovers(plan.device)
    yield* Effect.acquireRelease(installFirewall(plan, foreign.list()), () => Effect.ignore(nft(removeScript(table))))
    warnings.push(...(yield* foreignFirewall(plan, table)))
  }
  yield* Effect.acquireRelease(raiseDevice(plan, v6), () => Effect.ignore(lowerDevice(plan)))
  warnings.push(...(yield* enableForwarding(v6, routerAdvertised)))
  return warnings
})

/** What has come up while we run is left to the host like what was there before. */
const lookAgain = Effect.fnUntraced(function* (plan: HostPlan) {
  const foreign = yield* ForeignNetworks
  const { device } = (yield* IpFamilies).ipv6()
  const overlaps = yield* overlapsOf(plan, device === null)
  if (!(yield* foreign.found(overlaps.foreign)) || plan.firewall === "off") return
  yield* nft(foreignScript(plan.device, foreign.list()))
})

const listInterfaces = Effect.suspend(() =>
  ip(["-j", "address"]).pipe(Effect.flatMap(decodeOutput(Interfaces, "ip -j address")))
)

const listRoutes = (family: "-4" | "-6", ...selector: ReadonlyArray<string>) =>
  ip(["-j", family, "route", "show", ...selector]).pipe(Effect.flatMap(decodeOutput(Routes, "ip -j route")))

const ownAddresses = Effect.map(listInterfaces, (interfaces) => {
  const found = new Set<string>()
  for (const { addr_info: entries } of interfaces) {
    for (const { local } of entries ?? []) {
      const words = local === undefined ? undefined : parseAddress(local)
      if (words !== undefined) found.add(formatAddress(words))
    }
  }
  return [...found]
})

const uplinks = Effect.fnUntraced(function* (reachedFrom: string | null) {
  const interfaces = yield* listInterfaces
  const v4 = yield* listRoutes("-4", "default").pipe(Effect.orElseSucceed(() => []))
  // A host without IPv6 has nothing to say about it.
  const v6 = yield* listRoutes("-6", "default").pipe(Effect.orElseSucceed(() => []))
  return uplinkAddresses(reachedFrom, [...v4, ...v6], interfaces, isTunnelDevice)
})

/** TUN, TAP and WireGuard devices. */
const isTunnelDevice = (device: string): boolean =>
  fs.existsSync(`/sys/class/net/${device}/tun_flags`) ||
  readOr(`/sys/class/net/${device}/uevent`, "").includes("DEVTYPE=wireguard")

const Interfaces = Schema.fromJsonString(Schema.Array(Interface))

const Routes = Schema.fromJsonString(Schema.Array(Route))

const fail = (message: string): Effect.Effect<never, HostError> => Effect.fail(new HostError({ message }))

const ip = (args: ReadonlyArray<string>, input?: string): Effect.Effect<string, HostError> =>
  runCommand("ip", args, input === undefined ? {} : { input }).pipe(
    Effect.mapError(explain(input === undefined ? "read the host's network" : "configure the tunnel device"))
  )

const familyOf = (network: string): "-4" | "-6" => (network.includes(":") ? "-6" : "-4")

/** Asks for the routes inside and around each range only: a router may have a million others. */
const overlapsOf = Effect.fnUntraced(function* (plan: HostPlan, v6: boolean) {
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
      ranges.push({ what, network, routes: [...around, ...inside] })
    }
  }
  return judgeOverlaps(ranges, plan.device, plan.fixedRanges, [plan.gateway4, plan.gateway6])
})

/** Address, MTU, up, routes: one batch. No duplicate address detection, or services could not bind for a second. */
const raiseDevice = (plan: HostPlan, v6: boolean) => {
  const { device } = plan
  const lines = [
    ...(v6 ? [`link set dev ${device} addrgenmode none`] : []),
    `link set dev ${device} mtu ${plan.mtu} txqueuelen 1000 up`,
    `address replace ${plan.gateway4}/32 dev ${device}`,
    ...(v6 ? [`address replace ${plan.gateway6}/128 dev ${device} nodad`] : []),
    ...plan.tunnelNetworks
      .filter((network) => v6 || familyOf(network) === "-4")
      .map((network) => {
        const source = familyOf(network) === "-4" ? plan.gateway4 : plan.gateway6
        return `route replace ${network} dev ${device} src ${source}`
      })
  ]
  return ip(["-batch", "-"], `${lines.join("\n")}\n`)
}

const lowerDevice = ({ device }: HostPlan) =>
  ip(["-force", "-batch", "-"], `link set dev ${device} down\naddress flush dev ${device}\n`)

/** Interfaces with routes from router advertisements. */
const routerAdvertised = Effect.suspend(() =>
  Effect.map(listRoutes("-6", "proto", "ra"), (routes) => [...new Set(routes.flatMap((route) => route.dev ?? []))])
)

/** A crash leaves its table behind. One whose device exists belongs to another gateway. */
const removeLeftovers = Effect.fnUntraced(function* (own: string) {
  for (const entry of yield* nftList("tables")) {
    const table = entry["table"] as { readonly family?: string; readonly name?: string } | undefined
    if (table?.family !== "inet" || table.name === undefined) continue
    const device = deviceOfTable(table.name)
    if (device === undefined || device === own || fs.existsSync(`/sys/class/net/${device}`)) continue
    yield* nft(removeScript(table.name))
  }
})

const installFirewall = (plan: HostPlan, foreign: ReadonlyArray<ForeignNetwork>) =>
  Effect.suspend(() => {
    const listening = ["tcp", "tcp6", "udp", "udp6"].flatMap((name) => listeningPorts(readOr(`/proc/net/${name}`, "")))
    const ports = {
      ...freePortRange([...listening, plan.listenPort]),
      privileged: freePrivilegedRange([...listening, plan.listenPort])
    }
    return nft(firewallScript(plan, ports, foreign)).pipe(
      Effect.andThen(Effect.forEach(optionalScripts(plan), (script) => Effect.ignore(nft(script)), { discard: true }))
    )
  })

const readOr = (path: string, otherwise: string): string => {
  try {
    return fs.readFileSync(path, "utf8")
  } catch {
    return otherwise
  }
}

/** `ip monitor` as a trigger (its text is not for programs). Whatever ends it, news may have been missed by then. */
const watch = (news: Queue.Queue<void>): Effect.Effect<void> =>
  Effect.callback<void>((resume) => {
    const child = spawn(findProgram("ip"), ["monitor", "address", "route"], { stdio: ["ignore", "pipe", "ignore"] })
    child.stdout.on("data", () => void Queue.offerUnsafe(news, undefined))
    child.once("error", () => resume(Effect.void))
    child.once("exit", () => resume(Effect.void))
    return Effect.sync(() => void child.kill("SIGKILL"))
  }).pipe(
    Effect.andThen(Effect.sleep("5 seconds")),
    Effect.andThen(Effect.sync(() => void Queue.offerUnsafe(news, undefined)))
  )
