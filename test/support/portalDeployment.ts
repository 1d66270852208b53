/** The portal mode with everything around it in a wide-area lab: what its system tests start from. */
import { assert } from "@effect/vitest"
import { Context, Effect, Exit, Layer, Schedule, Scope, Stream } from "effect"
import * as ControlClient from "../../layers/cli/ControlClient.ts"
import * as LabLayer from "../../layers/lab/Lab.ts"
import { fetchLog } from "../../src/cli/fetchLog.ts"
import type { StatusReport } from "../../src/cli/statusReport.ts"
import {
  type NameServer,
  type Origins,
  startNameServer,
  startOrigins,
  startVisitor,
  type Visitor
} from "../../src/lab/demo/company.ts"
import {
  clientDns,
  type Portal,
  type PortalGateway,
  startPortal,
  startPortalClient,
  startPortalGateway,
  startRelay
} from "../../src/lab/demo/deployment.ts"
import { type RelayName } from "../../src/lab/demo/portalSite.ts"
import { Lab, LabError, type LabProcess } from "../../src/lab/demo/Lab.ts"
import { type Nat, setNat } from "../../src/lab/demo/routers.ts"
import type { LoggedEvent } from "../../src/events/Event.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { inner } from "./lab.ts"

export const appName = "app.corp.internal"

export interface PortalWorldOptions {
  readonly nats?: { readonly client: Nat; readonly gateway: Nat }
  /** Default: both. */
  readonly relays?: ReadonlyArray<RelayName>
  /** Lines below `resources:` of the portal; default: names, the LAN and the Internet. */
  readonly resources?: string
  /** More top-level lines of the portal's file. */
  readonly more?: string
  readonly gatewayEnv?: Readonly<Record<string, string>>
  readonly clientEnv?: Readonly<Record<string, string>>
  /** `false`: the test starts its own. */
  readonly client?: boolean
}

export class PortalWorld extends Context.Service<
  PortalWorld,
  {
    readonly portal: Restartable<Portal> & Pick<Portal, "command">
    readonly relays: Readonly<Record<RelayName, Restartable<LabProcess>>>
    readonly nameServer: NameServer
    readonly origins: Origins
    readonly visitor: Visitor
    readonly gateway: Restartable<PortalGateway>
    readonly client: Restartable<LabProcess>
    /** Asks on the client for the name and yields its first proxy IP. */
    readonly proxyOf: (name?: string, type?: "A" | "AAAA") => Effect.Effect<string, LabError>
    /** The gateway's. */
    readonly status: Effect.Effect<StatusReport, LabError>
    /** How rights of clients began and ended at the gateway, the oldest first. */
    readonly rights: Effect.Effect<ReadonlyArray<LoggedEvent>, LabError>
    /** How the gateway says that the client is reached; it tells moves once a second, so wait for it by `eventually`. */
    readonly path: Effect.Effect<"direct" | "relayed" | null, LabError>
  }
>()("sallyport/test/PortalWorld") {}

/** A program of the world that tests stop and start again. */
export interface Restartable<A> {
  readonly current: () => A
  readonly stop: Effect.Effect<void>
  readonly start: Effect.Effect<A, LabError>
  /** Stopped by SIGTERM, then started. */
  readonly restart: Effect.Effect<A, LabError>
}

const restartable = Effect.fnUntraced(function* <A>(
  make: Effect.Effect<A, LabError, Lab | Scope.Scope>,
  begin: boolean
) {
  const lab = yield* Lab
  const outer = yield* Effect.scope
  let running: { readonly scope: Scope.Closeable; readonly value: A } | null = null
  const stop = Effect.suspend(() => {
    const scope = running?.scope
    running = null
    return scope === undefined ? Effect.void : Scope.close(scope, Exit.void)
  })
  const start = Effect.gen(function* () {
    const scope = yield* Scope.fork(outer)
    const value = yield* make.pipe(Scope.provide(scope), Effect.provideService(Lab, lab))
    running = { scope, value }
    return value
  })
  if (begin) yield* start
  return {
    current: () => {
      assert(running !== null, "it does not run")
      return running.value
    },
    stop,
    start,
    restart: Effect.andThen(stop, start)
  } satisfies Restartable<A>
})

const allResources = `  names: { name: "*.corp.internal" }
  net: { cidr: ${inner.network.v4} }
  world: { internet: true }`

/** Name server (with `app.corp.internal` at the first origin), origins, visitor, relays, portal, gateway, client. */
const startPortalWorld = Effect.fnUntraced(function* (options: PortalWorldOptions = {}) {
  const { client = "restricted", gateway: gatewayNat = "restricted" } = options.nats ?? {}
  yield* Effect.all([setNat("client", client), setNat("gateway", gatewayNat)])
  const names = options.relays ?? ["one", "two"]
  const company = Effect.gen(function* () {
    const nameServer = yield* startNameServer
    yield* nameServer.set({ mode: "answer", name: appName, a: [inner.origin.v4], aaaa: [inner.origin.v6], ttl: 5 })
    return nameServer
  })
  const relaying = Effect.all(
    {
      one: restartable(startRelay("one"), names.includes("one")),
      two: restartable(startRelay("two"), names.includes("two"))
    },
    { concurrency: 2 }
  )
  const [nameServer, origins, visitor, relays] = yield* Effect.all([company, startOrigins, startVisitor(), relaying], {
    concurrency: 4
  })
  const portal = yield* restartable(
    startPortal({
      resources: options.resources ?? allResources,
      relays: names,
      ...(options.more === undefined ? {} : { more: options.more })
    }),
    true
  )
  const makeGateway = startPortalGateway(options.gatewayEnv === undefined ? {} : { env: options.gatewayEnv })
  const [gateway, clientProcess] = yield* Effect.all(
    [restartable(makeGateway, true), restartable(startPortalClient(options.clientEnv), options.client ?? true)],
    { concurrency: 2 }
  )
  const proxyOf = Effect.fnUntraced(function* (name: string = appName, type: "A" | "AAAA" = "A") {
    const answer = yield* visitor.resolve({ server: clientDns.v4, name, type })
    const proxy = parseAddress(answer.addresses?.[0] ?? "")
    if (proxy === undefined) return yield* Effect.die(new Error(`no proxy IP for ${name}: ${JSON.stringify(answer)}`))
    return formatAddress(proxy)
  })
  const status = Effect.suspend(() => gateway.current().status)
  const rights = Stream.suspend(() => fetchLog(gateway.current().socket)).pipe(
    Stream.filter(({ event: { _tag } }) => _tag === "Accepted" || _tag === "Expired" || _tag === "Revoked"),
    Stream.runCollect,
    Effect.mapError(({ message }) => new LabError({ message })),
    Effect.provide(ControlClient.layer)
  )
  const path = Effect.map(status, ({ clients }) => clients.find(({ connected }) => connected)?.path ?? null)
  return PortalWorld.of({
    portal: { ...portal, command: (command) => portal.current().command(command) },
    relays,
    nameServer,
    origins,
    visitor,
    gateway,
    client: clientProcess,
    proxyOf,
    status,
    rights,
    path
  })
})

/** A wide-area lab and its portal world, for tests that share it. */
export const portalWorldLayer = (options: PortalWorldOptions = {}): Layer.Layer<Lab | PortalWorld, LabError> =>
  Layer.effect(PortalWorld, startPortalWorld(options)).pipe(Layer.provideMerge(LabLayer.layerOf("wide")), Layer.fresh)

/** Neither the gateway nor the client that run now have warned or failed, but for what the test is about. */
export const assertQuiet = Effect.fnUntraced(function* (expected: ReadonlyArray<RegExp> = []) {
  const { client, gateway } = yield* PortalWorld
  const complaints = {
    gateway: yield* complaintsOf(gateway.current().process),
    client: yield* complaintsOf(client.current())
  }
  // The lab's portal has no certificate.
  const known = [...expected, /the portal is asked by ws:\/\/, without encryption/]
  const odd = (lines: ReadonlyArray<string>) => lines.filter((line) => !known.some((pattern) => pattern.test(line)))
  assert.deepStrictEqual(
    { gateway: odd(complaints.gateway), client: odd(complaints.client) },
    { gateway: [], client: [] }
  )
})

const complaintsOf = (process: LabProcess) =>
  Effect.map(process.output, (output) => output.split("\n").filter((line) => /\b(WARN|ERROR|FATAL)\b/.test(line)))

/** Downloads that many bytes, checks their checksum and yields who served them. */
export const download = Effect.fnUntraced(function* (
  address: string,
  bytes: number,
  options: { readonly localPort?: number; readonly timeout?: number; readonly port?: number } = {}
) {
  const { visitor } = yield* PortalWorld
  const page = yield* visitor.get({ address, path: `/bytes/${bytes}`, timeout: 10_000, ...options })
  assert.deepStrictEqual({ bytes: page.bytes, sha256: page.sha256 }, { bytes, sha256: page.expected })
  return page.servedBy
})

/**
 * Has a right of the client end at the gateway by `cause`, and yields that end. It is read from the log, since a client whose
 * packets are refused, be they the last ones of a connection of before, has its right again within milliseconds.
 */
export const ending = Effect.fnUntraced(function* <R>(
  how: "Expired" | "Revoked",
  cause: Effect.Effect<unknown, LabError, R>
) {
  const { rights } = yield* PortalWorld
  const last = (yield* rights).at(-1)?.number ?? 0
  const news = Effect.map(rights, (all) => all.filter(({ number }) => number > last))
  yield* cause
  const found = yield* eventually(`a right that is ${how}`, 20, news, (all) =>
    all.some(({ event }) => event._tag === how)
  )
  return found.find(({ event }) => event._tag === how)!
})

/** Repeats the probe until it holds; fails with what it said last after `seconds`. */
export const eventually = <A>(
  what: string,
  seconds: number,
  probe: Effect.Effect<A, LabError>,
  holds: (value: A) => boolean
) => {
  let last: A | undefined
  return probe.pipe(
    Effect.tap((value) => Effect.sync(() => (last = value))),
    Effect.repeat({ until: holds, schedule: Schedule.spaced("100 millis") }),
    Effect.timeoutOrElse({
      duration: `${seconds} seconds`,
      orElse: () => Effect.die(new Error(`${what}: not within ${seconds} s, last ${JSON.stringify(last)}`))
    })
  )
}
