/** A plan in force on the host: set up, compared, put right, undone. */
import * as fs from "node:fs"
import * as Effect from "effect/Effect"
import { deviceOfTable, firewallScript, foreignScript, optionalScripts, removeScript } from "../../src/host/firewall.ts"
import { ForeignNetworks } from "../../src/host/ForeignNetworks.ts"
import { HostError, type HostPlan, type HostRepair } from "../../src/host/HostNetwork.ts"
import { compare, globalForwarding, hostWanted, nothingThere, type Repair } from "../../src/host/hostPlan.ts"
import { IpFamilies } from "../../src/host/IpFamilies.ts"
import { ownTables } from "../../src/host/pathCounters.ts"
import { listenersOf } from "../../src/host/listeners.ts"
import { freePortRange, freePrivilegedRange } from "../../src/host/portRange.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { NativeError } from "../dataplane/native/nativeError.ts"
import { ip, listRoutes, overlapsOf } from "./hostAddresses.ts"
import type { HostLook, SeenDevices } from "./hostLook.ts"
import { ipv6Missing, raiseSysctl } from "./hostSysctl.ts"
import { removeOwnRules } from "./integrateFirewall.ts"
import { nft, nftList } from "./nftables.ts"
import { rememberTable, tableState } from "./ownTable.ts"
import { readText } from "./readText.ts"

/** Below it the kernel takes IPv6 from a device. */
const leastMtu6 = 1_280
/** What has no effect is done again after this long: the kernel tells of it as of any change. */
const futileMs = 2_000

/** A plan, and what is remembered of the host that it was put into force on. */
export interface InForce {
  plan: HostPlan
  /** The device's; another one of the same name is not ours. */
  index: number | null
  /** See `ownTable.ts`. */
  table: string | null
  generation: number | null
  /** Why it would not be put into force as the host is now. */
  conflict: string | null
  /** What `ip` could not put right the last time, by its loss, and why; tried when (monotonic milliseconds). */
  futile: { readonly because: ReadonlyMap<string, string>; readonly at: number }
  readonly seen: SeenDevices
}

export const allRight: HostRepair = { repaired: [], refused: [], remade: false }

export const configure = Effect.fn("HostNetwork.configure")(function* (look: HostLook, plan: HostPlan) {
  const { device } = plan
  const warnings: Array<string> = []
  if (!/^[A-Za-z0-9_.-]{1,15}$/.test(device)) {
    return yield* fail(`the device name ${JSON.stringify(device)} cannot be used: take letters and digits, at most 15`)
  }
  const missing = ipv6Missing(device)
  const families = yield* IpFamilies
  const foreign = yield* ForeignNetworks
  yield* families.found("device", missing)
  const v6 = missing === null
  const overlaps = yield* overlapsOf(plan, v6)
  if (overlaps.conflict !== null) return yield* fail(overlaps.conflict)
  yield* foreign.found(overlaps.foreign)
  const link = look.link(device)
  if (link === null) return yield* fail(`the TUN device ${device} is missing`)
  const index = link instanceof NativeError ? null : link.index
  const inForce: InForce = {
    plan,
    index,
    table: null,
    generation: null,
    conflict: null,
    futile: { because: new Map(), at: 0 },
    seen: { forwarding: new Set(), advertised: new Set() }
  }
  // Filtered before it is up and until it is down again.
  if (plan.firewall === "off") {
    // What a crash has left would go on filtering. A host without nft has none of it.
    const leftovers = [removeOwnRules(device), removeLeftovers(device), removeTables(device)]
    for (const remove of leftovers) yield* Effect.ignore(remove)
  } else {
    yield* removeOwnRules(device)
    yield* Effect.addFinalizer(() => Effect.ignore(removeOwnRules(device)))
    yield* removeLeftovers(device)
    yield* Effect.addFinalizer(() => Effect.ignore(removeTables(device)))
  }
  yield* Effect.addFinalizer(() => Effect.ignore(lowerDevice(plan)))
  const wanted = hostWanted(plan, v6)
  const failures = yield* apply(look, inForce, compare(wanted, nothingThere(wanted)))
  for (const [repair, error] of failures) {
    // A host may be right for IPv4 alone.
    if (repair._tag !== "Forwarding" || repair.path === globalForwarding[4]) return yield* error
    warnings.push(error.message)
  }
  return { warnings, inForce }
})

export const refilter = Effect.fn("HostNetwork.refilter")(function* (
  look: HostLook,
  inForce: InForce,
  allowGatewayHost: HostPlan["allowGatewayHost"]
) {
  // Whatever becomes of the change: the table of before is not right any more, and the next repair makes it anew.
  inForce.plan = { ...inForce.plan, allowGatewayHost }
  inForce.table = null
  inForce.generation = null
  if (inForce.plan.firewall !== "off") yield* installFirewall(look, inForce)
})

/** Does it, and yields what did not work. */
const apply = Effect.fnUntraced(function* (look: HostLook, inForce: InForce, repairs: ReadonlyArray<Repair>) {
  const failures = new Map<Repair, HostError>()
  const failed = (of: ReadonlyArray<Repair>) => (error: HostError) =>
    Effect.sync(() => {
      for (const repair of of) failures.set(repair, error)
    })
  const lines = repairs.flatMap((repair) => (repair._tag === "Ip" ? repair.lines : []))
  for (const repair of repairs) {
    if (repair._tag === "Table") {
      yield* Effect.catch(installFirewall(look, inForce), failed([repair]))
    } else if (repair._tag === "Ip" && lines.length > 0) {
      const batch = ip(["-force", "-batch", "-"], `${lines.splice(0).join("\n")}\n`)
      yield* Effect.catch(batch, failed(repairs.filter(({ _tag }) => _tag === "Ip")))
    } else if (repair._tag === "Forwarding") {
      if (repair.path === globalForwarding[6]) yield* Effect.catch(findAdvertised(inForce), failed([repair]))
      const refused = failures.has(repair) ? undefined : raiseSysctl(repair.path, inForce.seen.advertised)
      if (refused !== undefined) failures.set(repair, new HostError({ message: refused }))
    }
  }
  return failures
})

export const repair = Effect.fn("HostNetwork.repair", { root: true })(function* (
  look: HostLook,
  inForce: InForce,
  remakeDevice: Effect.Effect<void, { readonly message: string }>
): Effect.fn.Return<HostRepair, never, ForeignNetworks | IpFamilies> {
  const { plan } = inForce
  const { device } = plan
  let found = yield* differences(look, inForce)
  let remade = false
  const lost = "repairs" in found ? found.repairs.find(({ _tag }) => _tag === "Device") : undefined
  if (lost !== undefined) {
    const failure = yield* Effect.match(remakeDevice, { onFailure: ({ message }) => message, onSuccess: () => null })
    if (failure !== null) return { ...allRight, refused: [`${lost.lost} and cannot be made again: ${failure}`] }
    const link = look.link(device)
    inForce.index = link === null || link instanceof NativeError ? null : link.index
    remade = true
    found = yield* differences(look, inForce)
  }
  if ("refused" in found) return { ...allRight, refused: [found.refused], remade }
  const { repairs, unread } = found
  if (repairs.length === 0) return { ...allRight, refused: unread }
  const now = yield* monotonicMillis
  const pauses = now - inForce.futile.at < futileMs
  const pausing = pauses ? inForce.futile.because : new Map<string, string>()
  const failures = yield* apply(
    look,
    inForce,
    repairs.filter(({ lost }) => !pausing.has(lost))
  )
  const after = yield* differences(look, inForce)
  const left = new Set("repairs" in after ? after.repairs.map(({ lost }) => lost) : [])
  const because = new Map<string, string>()
  for (const repair of repairs) {
    if (left.has(repair.lost)) because.set(repair.lost, pausing.get(repair.lost) ?? whyLeft(repair, failures))
  }
  const byIp = repairs.flatMap(({ _tag, lost }) => (_tag === "Ip" && because.has(lost) ? [lost] : []))
  inForce.futile = {
    because: new Map(byIp.map((lost) => [lost, because.get(lost)!])),
    at: pauses ? inForce.futile.at : now
  }
  return {
    // Its addresses and routes went with it.
    repaired: lost === undefined ? repairs.flatMap(({ lost }) => (left.has(lost) ? [] : [lost])) : [lost.lost],
    refused: [...unread, ...[...because].map(([lost, why]) => `${lost} and cannot be put right: ${why}`)],
    remade
  }
})

const whyLeft = (repair: Repair, failures: ReadonlyMap<Repair, HostError>): string =>
  failures.get(repair)?.message ?? (repair._tag === "Ip" ? repair.futile : undefined) ?? "somebody else undoes it"

/** What differs from the plan, or why that cannot be told; `unread`: why not of the table alone. */
const differences = Effect.fnUntraced(function* (look: HostLook, inForce: InForce) {
  const { plan } = inForce
  const families = yield* IpFamilies
  const link = look.link(plan.device)
  // A device that is gone, or too narrow for IPv6, says nothing about the host.
  if (link !== null && !(link instanceof NativeError) && link.mtu >= leastMtu6) {
    yield* families.found("device", ipv6Missing(plan.device))
  }
  const wanted = hostWanted(plan, families.ipv6().device === null)
  const observed = look.observe(wanted, inForce.index, inForce.seen)
  if (observed instanceof NativeError) return { refused: observed.message }
  const table = tableState(look, inForce)
  return table instanceof NativeError
    ? { repairs: compare(wanted, { ...observed, table: "right" }), unread: [table.message] }
    : { repairs: compare(wanted, { ...observed, table }), unread: [] }
})

/** What has come up while we run is left to the host like what was there before. */
export const lookAgain = Effect.fnUntraced(function* (look: HostLook, inForce: InForce) {
  const { plan } = inForce
  const foreign = yield* ForeignNetworks
  const { device } = (yield* IpFamilies).ipv6()
  const overlaps = yield* overlapsOf(plan, device === null)
  if (overlaps.conflict !== null && overlaps.conflict !== inForce.conflict) {
    yield* Effect.logWarning(`${overlaps.conflict}; the gateway goes on, but would not start like this`)
  }
  inForce.conflict = overlaps.conflict
  if (!(yield* foreign.found(overlaps.foreign)) || plan.firewall === "off") return
  yield* nft(foreignScript(plan.device, foreign.list()))
  rememberTable(look, inForce)
})

const fail = (message: string): Effect.Effect<never, HostError> => Effect.fail(new HostError({ message }))

const removeTables = (device: string) => nft(ownTables(device).map(removeScript).join(""))

const lowerDevice = ({ device }: HostPlan) =>
  ip(["-force", "-batch", "-"], `link set dev ${device} down\naddress flush dev ${device}\n`)

const findAdvertised = Effect.fnUntraced(function* ({ seen }: InForce) {
  for (const { dev } of yield* listRoutes("-6", "proto", "ra")) if (dev !== undefined) seen.advertised.add(dev)
})

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

/**
 * Makes the own table anew, and remembers how the kernel has it. The kernel counts changes of rules: one that came in
 * between may have been to this table, which is then made once more.
 */
const installFirewall = Effect.fnUntraced(function* (look: HostLook, inForce: InForce) {
  const { plan } = inForce
  const listening = ["tcp", "tcp6", "udp", "udp6"].flatMap((name) =>
    listenersOf(readText(`/proc/net/${name}`) ?? "").map(({ port }) => port)
  )
  const ports = {
    ...freePortRange([...listening, plan.listenPort]),
    privileged: freePrivilegedRange([...listening, plan.listenPort])
  }
  const script = firewallScript(plan, ports, (yield* ForeignNetworks).list())
  const optional = optionalScripts(plan)
  for (let tries = 0; tries < mostTries; tries++) {
    const before = look.generation()
    let changes = 1
    if (yield* Effect.isFailure(nft([script, ...optional].join("\n")))) {
      yield* nft(script)
      for (const more of optional) if (yield* Effect.isSuccess(nft(more))) changes++
    }
    rememberTable(look, inForce)
    if (inForce.generation !== null && look.generation() === (before ?? 0) + changes) break
  }
  const flows = Number(readText("/proc/sys/net/netfilter/nf_conntrack_count") ?? 0)
  if (plan.masquerade && flows <= mostFlows) look.forgetUntranslated([...plan.tunnelNetworks, ...plan.proxyNetworks])
})

const mostTries = 3
/** Looking through more of them would hold everything else up. */
const mostFlows = 100_000
