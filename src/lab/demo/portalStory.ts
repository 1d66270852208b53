/** The story of a portal's gateway: a whole deployment behind home routers, told line by line; each step checks what it tells. */
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import type * as Scope from "effect/Scope"
import { type NameServer, startNameServer, startOrigins, startVisitor, type Visitor } from "./company.ts"
import {
  clientDns,
  type Portal,
  type PortalGateway,
  startPortal,
  startPortalClient,
  startPortalGateway,
  startRelay
} from "./deployment.ts"
import { download } from "./download.ts"
import { deviceNames, type RelayName } from "./portalSite.ts"
import { Lab, labAddresses, type LabError } from "./Lab.ts"
import { blockDirect, routePlainly, setNat } from "./routers.ts"
import type { StoryFailed } from "./StoryResult.ts"
import { chapter, line, ms, step, timed, wrong } from "./telling.ts"

const name = "app.corp.internal"
const { inner } = labAddresses
/** What the promises are held to, in milliseconds. */
const limits = { accept: 2_600, answer: 1_000, heal: 2_000, direct: 10_000, revoke: 1_000, relay: 20_000 }

interface Stage {
  readonly nameServer: NameServer
  readonly visitor: Visitor
  readonly portal: Portal
  readonly gateway: PortalGateway
  readonly relays: ReadonlyArray<RelayName>
}

/** Tells the whole story; without coturn on this machine nothing is translated, and the part about relays is left out. */
export const tellPortalStory: Effect.Effect<void, StoryFailed, Lab> = Effect.scoped(
  Effect.gen(function* () {
    yield* Console.log(opening)
    const stage = yield* step("setup", setUp)
    const proxy = yield* step("accept", accept(stage))
    yield* step("icmp", answerAtOnce(stage, proxy))
    yield* step("heal", heal(stage, proxy))
    yield* step("download", download(stage.visitor, proxy))
    yield* step("revoke", revoke(stage, proxy))
    if (stage.relays.length > 0) yield* step("relay", relay(stage, proxy))
    else yield* chapter("Without coturn the part about relays is left out.")
    yield* Console.log(closing)
  })
)

const opening = `
  A gateway of a Firezone portal, with everything around it on this machine:

      client ── home router ──┐                            ┌── office router ── gateway ── company LAN
                              ├── internet: portal, relays ┤
`

const closing = `
  That was all of it: asked by the portal, answered at once, direct where it can be and through a relay where not.
`

const setUp = Effect.gen(function* () {
  const lab = yield* Lab
  const found = yield* lab.attempt("internet", ["sh", "-c", "command -v turnserver"])
  const relays: ReadonlyArray<RelayName> = found.code === 0 ? ["one", "two"] : []
  if (relays.length === 0) {
    yield* chapter("There is no coturn on this machine: no relays, and both routers let everything through.")
    yield* routePlainly
  } else {
    yield* setNat("client", "restricted")
    yield* setNat("gateway", "restricted")
  }
  for (const relay of relays) yield* startRelay(relay)
  const nameServer = yield* startNameServer
  yield* nameServer.set({ mode: "closed", name, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
  yield* startOrigins
  const visitor = yield* startVisitor()
  const portal = yield* startPortal({
    resources: `  intranet: { name: "${name}" }\n  lan: { cidr: ${inner.network.v4} }`,
    relays
  })
  const gateway = yield* startPortalGateway()
  yield* line("gateway", "has joined the portal")
  yield* startPortalClient()
  yield* line("client", "has joined the portal")
  yield* chapter("The company's name server is down: nothing listens at its port.")
  return { nameServer, visitor, portal, gateway, relays } satisfies Stage
})

const accept = Effect.fnUntraced(function* ({ visitor }: Stage) {
  const [acceptMs, answer] = yield* timed(visitor.resolve({ server: clientDns.v4, name, type: "A", timeout: 4_000 }))
  const proxy = answer.addresses?.[0]
  if (proxy === undefined) return yield* wrong("accept", `no address for ${name} (code ${answer.rcode ?? -1})`)
  if (acceptMs > limits.accept) return yield* wrong("accept", `the name took ${ms(acceptMs)} to be accepted`)
  yield* line("client", `asks for ${name}: through portal, ICE and handshake in ${ms(acceptMs)} it is ${proxy}`, true)
  return proxy
})

const answerAtOnce = Effect.fnUntraced(function* ({ visitor }: Stage, proxy: string) {
  const [took, tried] = yield* timed(visitor.connect({ address: proxy, timeout: 5_000 }))
  if (tried.ok) return yield* wrong("icmp", "the connection opened although nobody knows where to")
  if (tried.code !== "EHOSTUNREACH" && tried.code !== "ENETUNREACH") {
    return yield* wrong("icmp", `the program sees ${tried.code ?? "nothing"}`)
  }
  if (took > limits.answer) return yield* wrong("icmp", `the answer took ${ms(took)}`)
  yield* line("gateway", `says after ${ms(took)} that it does not know where that is: ${tried.code}`, true)
})

const heal = Effect.fnUntraced(function* ({ gateway, nameServer, visitor }: Stage, proxy: string) {
  yield* nameServer.set({ mode: "answer" })
  yield* line("dns", "is back")
  const [took, { page, tries }] = yield* timed(visitor.retry({ address: proxy, every: 100, deadline: limits.heal }))
  if (page?.servedBy !== inner.origin.v4) return yield* wrong("heal", `no page within ${ms(limits.heal)}`)
  yield* line("client", `has the page ${ms(took)} later, at try ${tries}: "${page.text.trim()}"`, true)
  const path = yield* until(pathOf(gateway), (path) => path === "direct", { every: 250, within: limits.direct })
  if (path === null) return yield* wrong("heal", `no direct path within ${ms(limits.direct)}; nothing is in the way`)
  yield* line("status", "the client is reached directly, through both routers", true)
})

const revoke = Effect.fnUntraced(function* ({ portal, visitor }: Stage, proxy: string) {
  yield* chapter("The portal's operator takes the access to the name away.")
  yield* portal.command({ command: "revoke", client: deviceNames.client, resource: "intranet" })
  const tries = visitor.connect({ address: proxy, timeout: 500 })
  const [took, tried] = yield* timed(until(tries, ({ ok }) => !ok, { every: 50, within: limits.revoke }))
  if (tried === null) return yield* wrong("revoke", `still open after ${ms(limits.revoke)}`)
  yield* line("client", `gets in no more, ${ms(took)} later`, true)
  yield* visitor.resolve({ server: clientDns.v4, name, type: "A", timeout: 4_000 })
  const { page } = yield* visitor.retry({ address: proxy, every: 100, deadline: 10_000 })
  if (page?.servedBy !== inner.origin.v4) return yield* wrong("revoke", "asked again, and not let in within 10 s")
  yield* line("client", "asks again, is authorized again, and has the page", true)
})

const relay = Effect.fnUntraced(function* ({ gateway, visitor }: Stage, proxy: string) {
  yield* chapter("The direct way between the two routers is cut, in the middle of a page.")
  yield* visitor.openDrip("page", proxy)
  yield* blockDirect(true)
  const often = { every: 250, within: limits.relay }
  const [took, path] = yield* timed(until(pathOf(gateway), (path) => path === "relayed", often))
  if (path === null) return yield* wrong("relay", `no relayed path within ${ms(limits.relay)}`)
  const before = yield* visitor.readDrip("page")
  const goesOn = ({ ended, lines }: typeof before) => ended !== null || lines > before.lines
  const after = yield* until(visitor.readDrip("page"), goesOn, often)
  if (after === null || after.ended !== null) return yield* wrong("relay", "the page does not go on")
  yield* line("client", `reads on through a relay; the way was changed within ${ms(took)}`, true)
})

const pathOf = (gateway: PortalGateway) =>
  Effect.map(gateway.status, ({ clients }) => clients.find(({ connected }) => connected)?.path ?? null)

/** Looks every so many milliseconds until it is so; `null`: it was not within the limit. */
const until = <A>(
  look: Effect.Effect<A, LabError, Lab | Scope.Scope>,
  isSo: (seen: A) => boolean,
  { every, within }: { readonly every: number; readonly within: number }
) =>
  look.pipe(
    Effect.repeat({ until: isSo, schedule: Schedule.spaced(every) }),
    Effect.timeoutOrElse({ duration: within, orElse: () => Effect.succeed(null) })
  )
