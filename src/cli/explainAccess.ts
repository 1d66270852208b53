/**
 * Why a client does, or does not, reach something: its packet's way, step by step, up to the first that stops it. Asks the
 * resolver and the host's routes where nobody has needed them yet, and changes nothing.
 */
import * as Effect from "effect/Effect"
import * as Fiber from "effect/Fiber"
import { placeOf, type Places } from "../config/places.ts"
import { suggest } from "../config/suggest.ts"
import { type DeniedRequest, describeDenial, passing, type Reason } from "../control/standalone/describeDenial.ts"
import { type Denial, type ReachPolicy, ReachRules, type Verdict } from "../control/standalone/reach.ts"
import { shellWord } from "../events/printable.ts"
import type { FilesOfNames } from "../host/NameFiles.ts"
import type { Right } from "../model/Authorization.ts"
import type { Client } from "../model/Client.ts"
import type { ResolverSet } from "../model/ResolverSet.ts"
import { formatPacket, type Target } from "../model/Target.ts"
import type { DestinationPolicy } from "../nat/destinationPolicy.ts"
import { parseAddress } from "../packet/address.ts"
import { coverOf, nameOf } from "../resolution/cover.ts"
import type { ResolutionReason } from "../resolution/Resolver.ts"
import { type Explanation, Way } from "./explanation.ts"
import { formatAge } from "./formatAge.ts"
import { addressesOf, lookedUp, type Onward, type RunningGateway, toHost } from "./onwardSteps.ts"
import type { StatusReport } from "./statusReport.ts"
import { list } from "./textTable.ts"
import { fewUnused, findUnused } from "./troubles.ts"

export interface ExplainSources {
  /** Who says what is allowed. */
  readonly kind: "file" | "portal"
  readonly policy: ReachPolicy & {
    readonly clients: ReadonlyArray<Client>
    readonly resolvers: ReadonlyMap<string, ResolverSet>
    readonly places?: Places
  }
  readonly files: FilesOfNames
  readonly destinations: DestinationPolicy
  /** What a running gateway knows; or why there is none. */
  readonly running: RunningGateway | { readonly notRunning: string }
}

/** @param now epoch milliseconds, by the clock that grants expire by */
export const explainAccess = Effect.fnUntraced(function* (
  sources: ExplainSources,
  who: string,
  target: Target,
  now: number
): Effect.fn.Return<Explanation> {
  const way = new Way()
  yield* follow(sources, way, who, target, now)
  return way.explanation(who, target)
})

const follow = Effect.fnUntraced(function* (
  sources: ExplainSources,
  way: Way,
  who: string,
  target: Target,
  now: number
) {
  const { policy, running } = sources
  const client = policy.clients.find(({ id }) => id === who)
  if (client === undefined) return way.no("client", unknownClient(sources, who))
  way.yes("client", `${client.id} is a client${placeOf(policy.places, "clients", client.id)}`)
  if ("report" in running) connection(way, running.report, client)

  const standsFor = nameOfProxy(running, client, target)
  if (standsFor !== undefined) way.yes("alias", `${target.host} stands for ${standsFor} at ${client.id}`)
  const wanted = standsFor === undefined ? target : { ...target, host: standsFor, address: undefined }

  const rules = new ReachRules(policy, sources.files, sources.destinations)
  return yield* followRules(sources, way, rules, client, wanted, now)
})

const followRules = Effect.fnUntraced(function* (
  sources: ExplainSources,
  way: Way,
  rules: ReachRules,
  client: Client,
  wanted: Target,
  now: number
): Effect.fn.Return<Way | undefined> {
  const { policy, running } = sources
  const reach = rules.reach(client.id, wanted, now)
  const { names } = reach
  for (const [i, name] of names.slice(1).entries()) {
    way.yes("alias", `${names[i]!} is an alias of ${name}, by records: or search: of the file`)
  }
  let host = names.at(-1) ?? wanted.host
  let { verdict } = reach
  const asked = askedOf(verdict)
  let answer: Outside["answer"] | undefined
  if (asked !== null && "report" in running) {
    const name = { resolver: asked, domain: host }
    // Meanwhile: a silent set is waited for once.
    if (verdict._tag === "Depends") answer = yield* Effect.forkChild(running.lookUp(name))
    const meant = yield* running.aliasOf(name, (alias) => rules.hasName(client.id, alias, now))
    if (meant !== null) {
      way.yes("alias", `${host} is an alias of ${meant}, by the servers of ${asked}`)
      host = meant
      verdict = rules.toAlias(client.id, meant, wanted, now)
    }
  }
  const grants = grantsOf(verdict)
  if (grants.length > 0) way.yes("resource", covering(policy.places, grants, host, client, now))
  const { places } = policy
  const request = { places, grants: rules.grantsOf(client.id), client: client.id, target: wanted, host, now }
  const deny = (why: Denial) => denied(sources, way, why, request)
  if (verdict._tag === "Denied") return deny(verdict.why)
  if (verdict._tag === "Short") {
    const what = `${host} is a short name: the first of ${verdict.names.join(", ")} that exists is meant`
    return way.no("alias", { what, fix: "explain the whole name" })
  }
  if (verdict._tag === "Depends") {
    way.yes("resource", `no resource has ${host}: the servers of ${verdict.resolver} are asked, its addresses decide`)
  } else if (verdict.by === null) {
    return way.yes("resource", `${host} is the gateway itself, which answers DNS and ping in the tunnel`)
  } else {
    way.yes("ports", `${formatPacket(wanted) ?? "a packet"} passes: ${passing(verdict.grants)}`)
    const site = siteOf(policy, verdict.by)
    if (site !== undefined) {
      return way.unknown("gateway", `${host} is reached at site ${site}: explain it at a gateway there for the rest`)
    }
  }
  if (!("report" in running)) {
    return way.unknown("gateway", `${running.notRunning}: this is what the file says, the rest is not known`)
  }

  const onward: Onward = { running, resolvers: policy.resolvers, client, way }
  if (verdict._tag === "Depends")
    return yield* byAddresses(onward, rules, { ...verdict, answer: answer!, host, target: wanted, now }, deny)
  if (verdict.address === null)
    return yield* byName(onward, rules, { grants: verdict.grants, host, target: wanted }, deny)
  if (wanted.address === undefined) {
    way.yes("lookup", `${host} is ${verdict.address}, by records: of the file or the gateway's hosts file`)
  }
  return yield* toHost(onward, null, [verdict.address], wanted)
})

/** The other site that serves it. */
const siteOf = ({ sites }: Pick<ReachPolicy, "sites">, { resource }: Right): string | undefined =>
  sites?.elsewhere.find((grant) => grant.resource.id === resource.id)?.site.name

/** A name of a resource. */
const byName = Effect.fnUntraced(function* (
  onward: Onward,
  rules: ReachRules,
  { grants, host, target }: Pick<Named, "host" | "target"> & { readonly grants: ReadonlyArray<Right> },
  deny: (why: Denial) => Way
) {
  const cover = coverOf(
    grants.flatMap(({ resource }) => (resource.kind === "dns" ? [resource] : [])),
    host
  )
  const name = nameOf(cover!, host)
  const addresses = yield* addressesOf(onward, name)
  if (addresses === null) return undefined
  const refusals = addresses.map((text) => rules.refusalFor(grants, target, parseAddress(text)!))
  const usable = addresses.filter((_, i) => refusals[i] === undefined)
  if (usable.length === 0) return deny({ _tag: "Refused", grants, address: addresses[0]!, refusal: refusals[0]! })
  const others = addresses.filter((_, i) => refusals[i] !== undefined)
  const but = others.length === 0 ? "" : `, not to ${list(others)} (${refusals.find((one) => one !== undefined)})`
  onward.way.yes("destination", `packets may be forwarded to ${list(usable)}${but}`)
  return yield* toHost(onward, name, usable, target)
})

/** A name that other servers know. */
const byAddresses = Effect.fnUntraced(function* (
  onward: Onward,
  rules: ReachRules,
  { answer, as, host, now, resolver, target }: Outside,
  deny: (why: Denial) => Way
) {
  const { client, way } = onward
  const addresses = yield* lookedUp(onward, { resolver, domain: host }, Fiber.join(answer))
  if (addresses === null) return undefined
  const untold = addresses.map((text) => rules.untold(client.id, host, text, now, as !== "networks"))
  const told = addresses.filter((_, i) => untold[i] === undefined)
  if (told.length === 0) {
    return way.no("lookup", {
      what: `${list(addresses)} is left out of the answer to ${client.id}: ${untold[0]!}`,
      fix: "add a resource with cidr: for it; then: sallyport reload"
    })
  }
  const verdicts = told.map((text) => rules.toAddress(client.id, parseAddress(text)!, target, now))
  const open = told.filter((_, i) => verdicts[i]!._tag === "Allowed")
  const [first] = verdicts
  if (open.length === 0 && first?._tag === "Denied") return deny(first.why)
  return yield* toHost(onward, null, open, target)
})

interface Named {
  readonly host: string
  readonly target: Target
  readonly now: number
}

interface Outside extends Named, Pick<Extract<Verdict, { _tag: "Depends" }>, "as" | "resolver"> {
  /** What the servers say. */
  readonly answer: Fiber.Fiber<ReadonlyArray<string>, ResolutionReason>
}

const denied = ({ kind }: ExplainSources, way: Way, why: Denial, request: DeniedRequest): Way => {
  const reason = describeDenial(why, request)
  const part = why._tag === "Filtered" ? "ports" : why._tag === "Refused" ? "destination" : "resource"
  if (kind === "portal") return way.no(part, byPortal(why, reason, request))
  const isOfFile = !["Refused", "Proxy", "Tunnel"].includes(why._tag)
  return way.no(part, isOfFile ? { ...reason, fix: `${reason.fix}; then: sallyport reload` } : reason)
}

const connection = (way: Way, { at, clients }: StatusReport, client: Client): void => {
  const row = clients.find(({ name }) => name === client.id)
  const handshake =
    row === undefined || row.lastHandshakeAt === null
      ? ""
      : `, last handshake ${formatAge(at - row.lastHandshakeAt)} ago`
  if (row?.connected === true) {
    way.yes("connection", `it is connected from ${row.endpoint ?? "somewhere"}${handshake}`)
    return
  }
  if (row?.gatewayKey === "gone") {
    way.no("connection", {
      what: "it is not connected, and cannot be: the gateway's key that it had is no more",
      fix: `give it a new file: sallyport client-config ${client.id}`
    })
    return
  }
  const heard = row?.lastHeardAt ?? row?.lastHandshakeAt ?? null
  const what =
    heard === null
      ? "it is not connected, and was not since the gateway's start"
      : `it is not connected: last heard of ${formatAge(at - heard)} ago`
  const unused = row?.unusedAnswers ?? 0
  if (unused >= fewUnused) {
    way.no("connection", {
      what: `${what}; its last ${unused} handshakes came to nothing, though answered`,
      fix: findUnused
    })
    return
  }
  way.no("connection", {
    what,
    fix: "switch WireGuard on at the device; if it is on: does it have this gateway's key, and does it reach the endpoint?"
  })
}

const unknownClient = ({ kind, policy }: ExplainSources, who: string): Reason => {
  const what = `no client is called ${JSON.stringify(who)}`
  if (kind === "portal")
    return { what: `${what} here so far`, fix: "sallyport status --clients lists those that the portal has told of" }
  const near = suggest(
    who,
    policy.clients.map(({ id }) => id)
  )
  return {
    what,
    fix: near === undefined ? `sallyport client add ${shellWord(who)} --group …` : `did you mean ${near}?`
  }
}

/** A proxy IP is told to a client for a name. */
const nameOfProxy = (
  running: ExplainSources["running"],
  client: Client,
  { address, host }: Target
): string | undefined =>
  address === undefined || !("report" in running)
    ? undefined
    : running.report.mappings.find((row) => row.client === client.id && row.proxyIps.includes(host))?.domain

/** Who is asked for a name that no resource has. */
const askedOf = (verdict: Verdict): string | null => {
  if (verdict._tag === "Depends") return verdict.resolver
  return verdict._tag === "Denied" && verdict.why._tag === "Uncovered" ? verdict.why.asked : null
}

const grantsOf = (verdict: Verdict): ReadonlyArray<Right> => {
  if (verdict._tag === "Allowed") return verdict.grants
  if (verdict._tag !== "Denied") return []
  return "grants" in verdict.why ? verdict.why.grants : []
}

const covering = (
  places: Places | undefined,
  grants: ReadonlyArray<Right>,
  host: string,
  client: Client,
  now: number
): string => {
  const told = grants.slice(0, 3).map(({ expiresAt, resource: { id } }) => {
    const until = expiresAt === null ? "" : `, for ${formatAge(expiresAt - now)} more`
    return `${id}${until}${placeOf(places, "resources", id)}`
  })
  const more = grants.length > told.length ? `, and ${grants.length - told.length} more` : ""
  return `${host} is of ${told.join(", and of ")}${more}; ${client.id} may use it`
}

/** The portal's policy is not known here: only what it has authorized so far. */
const byPortal = (why: Denial, reason: Reason, { client, host }: DeniedRequest): Reason =>
  ["Uncovered", "Unauthorized", "Private", "OtherNames"].includes(why._tag)
    ? {
        what: `the portal has not authorized ${client} for ${host} at this gateway so far`,
        fix: "it does when the client asks and its policies allow it: look at them in the portal"
      }
    : { ...reason, fix: "look at the resource and its policies in the portal" }
