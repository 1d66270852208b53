/** What the portal bench compares: the same hosts behind the same routers, joined in three ways. */
import { fileURLToPath } from "node:url"
import { Effect, Layer, Queue, Schedule, Schema, type Scope } from "effect"
import * as LabLayer from "../../../layers/lab/Lab.ts"
import { type NameServer, startNameServer, startOrigins, startVisitor } from "../../../src/lab/demo/company.ts"
import {
  clientDns,
  type PortalGateway,
  startPortal,
  startPortalClient,
  startPortalGateway,
  startRelay
} from "../../../src/lab/demo/deployment.ts"
import { relayEntries } from "../../../src/lab/demo/portalSite.ts"
import { Lab, labAddresses, LabError, type LabHost } from "../../../src/lab/demo/Lab.ts"
import { blockDirect, setNat } from "../../../src/lab/demo/routers.ts"
import { clientConf, gatewayPort, startClient, startGateway, tunnelAddresses } from "../../../src/lab/demo/tunnel.ts"
import { gatewayConfig } from "../../support/lab.ts"
import { iperfPort, type Pair } from "./pairs.ts"

const { inner, wide } = labAddresses
const appName = "app.corp.internal"
const mtu = 1_280

export interface PortalGatewayLab {
  readonly lab: Lab["Service"]
  readonly portalGateway: PortalGateway
  readonly nameServer: NameServer
}

/** A wide-area lab with routers that keep ports and let anybody in, the company's servers and what `make` adds. */
const inLabOfItsOwn = Effect.fnUntraced(function* <A, E>(
  make: (nameServer: NameServer) => Effect.Effect<A, E, Lab | Scope.Scope>
) {
  const context = yield* Layer.build(Layer.fresh(LabLayer.layerOf("wide")))
  return yield* Effect.provide(
    Effect.gen(function* () {
      const lab = yield* Lab
      yield* Effect.all([setNat("client", "fullCone"), setNat("gateway", "fullCone")])
      yield* startOrigins
      yield* lab.spawn("lan", ["iperf3", "--server", "--bind", inner.origin.v4, "--port", String(iperfPort)])
      const nameServer = yield* startNameServer
      yield* nameServer.set({ mode: "answer", name: appName, a: [inner.origin.v4], aaaa: [], ttl: 300 })
      return yield* make(nameServer)
    }),
    context
  )
})

const proxyOf = Effect.fnUntraced(function* (server: string) {
  const visitor = yield* startVisitor()
  return yield* visitor.resolve({ server, name: appName, type: "A", timeout: 3_000 }).pipe(
    Effect.map((answer) => answer.addresses?.[0]),
    Effect.filterOrFail(
      (address) => address !== undefined,
      () => new LabError({ message: `no proxy address for ${appName}` })
    ),
    Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 50 })
  )
})

const pairOf = (
  lab: Lab["Service"],
  target: string,
  gateway: { readonly process: { readonly pid: number } },
  client: { readonly pid: number }
): Pair => ({ name: "sallyport", lab, target, gateway: gateway.process.pid, client: client.pid, delays: null })

/** A gateway with a file of its own; the client dials it, over IPv6 as ICE does here: its packets cost more than IPv4's. */
export const startStandalone: Effect.Effect<Pair, LabError, Scope.Scope> = inLabOfItsOwn(() =>
  Effect.gen(function* () {
    const lab = yield* Lab
    const keys = yield* lab.keyPair
    const gateway = yield* startGateway({
      config: gatewayConfig({ clientKey: keys.publicKey, more: `network: { mtu: ${mtu} }` })
    })
    const client = yield* startClient(
      clientConf({
        privateKey: keys.privateKey,
        gatewayPublicKey: gateway.publicKey,
        endpoint: `[${wide.gatewayRouter.wide.v6}]:${gatewayPort}`
      })
    )
    const target = yield* proxyOf(tunnelAddresses.gateway.v4)
    return pairOf(lab, target, gateway, client)
  })
)

const resources = ["*.corp.internal", ...[1, 2, 3, 4].map((n) => `*.fleet${n}.internal`)]
  .map((pattern, index) => `  names${index}: { name: "${pattern}" }`)
  .join("\n")

/** Portal, one relay and gateway. */
const startPortalEnd = Effect.fnUntraced(function* (nameServer: NameServer) {
  const lab = yield* Lab
  yield* startRelay("one")
  yield* startPortal({ resources, relays: ["one"] })
  return { lab, nameServer, portalGateway: yield* startPortalGateway() } satisfies PortalGatewayLab
})

/** Without a client. */
export const startPortalGatewayLab: Effect.Effect<PortalGatewayLab, LabError, Scope.Scope> =
  inLabOfItsOwn(startPortalEnd)

/** With a connected client; `relayed`: nothing goes directly between the two homes. */
export const startPortalLab = (path: "direct" | "relayed"): Effect.Effect<Pair, LabError, Scope.Scope> =>
  inLabOfItsOwn((nameServer) =>
    Effect.gen(function* () {
      yield* blockDirect(path === "relayed")
      const { lab, portalGateway: gateway } = yield* startPortalEnd(nameServer)
      const client = yield* startPortalClient()
      const target = yield* proxyOf(clientDns.v4)
      yield* Effect.ignore(lab.exec("client", ["curl", "-s", "--max-time", "5", `http://${target}/bytes/1`]))
      yield* gateway.status.pipe(
        Effect.filterOrFail(
          ({ clients }) => clients.some((one) => one.path === path),
          ({ clients }) => new LabError({ message: `the client's path is not ${path}: ${JSON.stringify(clients)}` })
        ),
        Effect.retry({ schedule: Schedule.spaced("200 millis"), times: 50 })
      )
      return pairOf(lab, target, gateway, client)
    })
  )

/** A program of the bench or of the tests that answers each line with one of JSON. */
export const startProgram = Effect.fnUntraced(function* (
  lab: Lab["Service"],
  host: LabHost,
  file: string,
  ...parameters: ReadonlyArray<string>
) {
  const path = fileURLToPath(new URL(file, import.meta.url))
  const child = yield* lab.spawn(host, [process.execPath, path, ...parameters])
  const line = Queue.take(child.lines).pipe(
    Effect.timeout("60 seconds"),
    Effect.catch(() => Effect.flatMap(child.output, (text) => new LabError({ message: `${file}: ${text}` })))
  )
  if (!/^"?ready"?$/.test(yield* line)) return yield* new LabError({ message: `${file} is not ready` })
  const ask = <A>(text: string, result: Schema.Decoder<A>) =>
    Effect.andThen(child.send(text), line).pipe(
      Effect.flatMap((answer) =>
        Schema.decodeEffect(Schema.fromJsonString(result))(answer).pipe(
          Effect.mapError(() => new LabError({ message: `${file} answered ${answer.slice(0, 200)}` }))
        )
      )
    )
  return { ask }
})

/** Datagrams from one end to the other. */
export interface BarePair {
  /** Both ways; the client's end talks through the relay, as the client of a relayed connection does, or it does not. */
  readonly carry: (
    direction: "up" | "down",
    load: { readonly size: number; readonly seconds: number; readonly window?: number; readonly megabits?: number }
  ) => Effect.Effect<{ readonly perSecond: number; readonly loss: number }, LabError>
}

const Nothing = Schema.Struct({})
const Allocated = Schema.Struct({ relayed: Schema.Finite })
const Sent = Schema.Struct({ sent: Schema.Finite })
const Received = Schema.Struct({ count: Schema.Finite, seconds: Schema.Finite })
const barePort = 40_000

/** Two ends at the lab's relay without any tunnel; `holder` has the allocation. */
export const startBarePair: (
  lab: Lab["Service"],
  holder: "client" | "gateway"
) => Effect.Effect<BarePair, LabError, Scope.Scope> = Effect.fnUntraced(function* (lab, holder) {
  const other = holder === "client" ? "gateway" : "client"
  const open = (host: "client" | "gateway") => startProgram(lab, host, "./relayEndMain.ts", String(barePort))
  const ends = { client: yield* open("client"), gateway: yield* open("gateway") }
  const { password, username } = relayEntries(["one"])["one"]!
  const server = wide.relay.v4
  const tell = (command: object) => JSON.stringify(command)
  const { relayed } = yield* ends[holder].ask(tell({ op: "allocate", server, username, password }), Allocated)
  yield* ends[holder].ask(tell({ op: "peer", address: wide[`${other}Router`].wide.v4, port: barePort }), Nothing)
  yield* ends[other].ask(tell({ op: "peer", address: server, port: relayed }), Nothing)
  return {
    carry: Effect.fnUntraced(function* (direction, load) {
      const [from, to] = direction === "up" ? [ends.client, ends.gateway] : [ends.gateway, ends.client]
      yield* to.ask(tell({ op: "receive" }), Nothing)
      const { sent } = yield* from.ask(tell({ op: "send", ...load }), Sent)
      yield* Effect.sleep("100 millis")
      const { count, seconds } = yield* to.ask(tell({ op: "received" }), Received)
      if (count === 0) return yield* new LabError({ message: `nothing arrived ${direction} through the relay` })
      return { perSecond: count / Math.max(seconds, load.seconds * 0.5), loss: 1 - count / sent }
    })
  }
})
