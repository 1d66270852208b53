/** A gateway in its lab with everything around it: what most system tests start from. */
import { Effect, Schedule, type Scope } from "effect"
import { DatabaseSync } from "node:sqlite"
import {
  type NameServer,
  type Origins,
  startNameServer,
  startOrigins,
  startVisitor,
  type Visitor
} from "../../src/lab/demo/company.ts"
import { withCompanyDns } from "../../src/lab/demo/withCompanyDns.ts"
import { Lab, LabError, type LabProcess } from "../../src/lab/demo/Lab.ts"
import {
  clientConf,
  type Gateway,
  gatewayPort,
  startClient,
  startGateway,
  tunnelAddresses
} from "../../src/lab/demo/tunnel.ts"
import { formatAddress, parseAddress } from "../../src/packet/address.ts"
import { gatewayConfig, inner, outer } from "./lab.ts"
import { startWireguardGo, type WireguardGo, type WireguardGoError } from "./wireguardGo.ts"

export const appName = "app.corp.internal"

export interface World {
  readonly nameServer: NameServer
  readonly origins: Origins
  readonly visitor: Visitor
  readonly gateway: Gateway
  readonly clientKeys: { readonly privateKey: string; readonly publicKey: string }
  /** Asks the tunnel's DNS server for the name and yields its first proxy IP. */
  readonly proxyOf: (name?: string, type?: "A" | "AAAA") => Effect.Effect<string, LabError>
}

export interface WorldOptions {
  /** Lines below `resources:`; default: `app.corp.internal`, all ports. */
  readonly resources?: string
  readonly resolvers?: ReadonlyArray<string>
  /** More top-level lines of the configuration. */
  readonly more?: string
  /** More lines below `clients:`. */
  readonly clients?: string
  /** The client's and the gateway's; base64 of 32 bytes. */
  readonly presharedKey?: string
  /** How the company's name server begins; `none` leaves its port free for another one. */
  readonly dns?: "answer" | "silent" | "closed" | "none"
  /** What is started with `up`; default `sallyport`. */
  readonly program?: ReadonlyArray<string>
  /** The gateway's host asks the company's name server too, by its `resolv.conf`. */
  readonly companyDns?: boolean
  /** More environment of the gateway. */
  readonly env?: Readonly<Record<string, string>>
}

/** Name server (with `app.corp.internal` at the first origin), origins, visitor and gateway; the client is the test's choice. */
export const startWorld: (options?: WorldOptions) => Effect.Effect<World, LabError, Lab | Scope.Scope> =
  Effect.fnUntraced(function* (options = {}) {
    const lab = yield* Lab
    const clientKeys = yield* lab.keyPair
    const nameServer = yield* startNameServer
    const mode = options.dns ?? "answer"
    yield* nameServer.set({
      mode: mode === "none" ? "closed" : mode,
      name: appName,
      a: [inner.origin.v4],
      aaaa: [inner.origin.v6],
      ttl: 5
    })
    const { companyDns = false, program = lab.program("sallyport") } = options
    const starting = startGateway({
      config: configOf(clientKeys.publicKey, options),
      program: companyDns ? yield* withCompanyDns(program) : program,
      ...(options.env === undefined ? {} : { env: options.env })
    })
    const [origins, gateway, visitor] = yield* Effect.all([startOrigins, starting, startVisitor()], { concurrency: 3 })
    const proxyOf = Effect.fnUntraced(function* (name: string = appName, type: "A" | "AAAA" = "A") {
      const answer = yield* visitor.resolve({ server: tunnelAddresses.gateway.v4, name, type })
      const proxy = parseAddress(answer.addresses?.[0] ?? "")
      if (proxy === undefined) return yield* Effect.die(new Error(`no proxy IP for ${name}: ${JSON.stringify(answer)}`))
      return formatAddress(proxy)
    })
    return { nameServer, origins, visitor, gateway, clientKeys, proxyOf }
  })

const configOf = (clientKey: string, { clients, more, presharedKey, resolvers, resources }: WorldOptions): string =>
  gatewayConfig({
    clientKey,
    ...(resolvers === undefined ? {} : { resolvers }),
    ...(clients === undefined ? {} : { clients }),
    ...(presharedKey === undefined ? {} : { presharedKey }),
    ...(resources === undefined ? {} : { resources }),
    ...(more === undefined ? {} : { more })
  })

/** The same gateway again, with the state it left. */
export const restartGateway = (
  world: Pick<World, "clientKeys">,
  options: WorldOptions = {}
): Effect.Effect<Gateway, LabError, Lab | Scope.Scope> =>
  startGateway({ config: configOf(world.clientKeys.publicKey, options) })

/** Waits until the gateway's state has the client's endpoint: one that is killed and starts anew calls it there. */
export const endpointKept = Effect.gen(function* () {
  const lab = yield* Lab
  const look = () => {
    const database = new DatabaseSync(`${lab.directory}/gateway-state/state.db`, { readOnly: true })
    try {
      return database.prepare("SELECT local FROM client WHERE id = 'visitor'").get()?.["local"]
    } finally {
      database.close()
    }
  }
  yield* Effect.try({ try: look, catch: (error) => new LabError({ message: String(error) }) }).pipe(
    Effect.filterOrFail(
      (local) => typeof local === "string",
      () => new LabError({ message: "the client's endpoint is not written down" })
    ),
    Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 400 })
  )
})

/** Connects the lab's client with an independent WireGuard. */
export const connectWireguardGo: (
  world: World,
  options?: {
    readonly endpoint?: string
    readonly keepalive?: number
    readonly allowedIps?: ReadonlyArray<string>
    readonly presharedKey?: string
  }
) => Effect.Effect<WireguardGo, LabError | WireguardGoError, Lab | Scope.Scope> = Effect.fnUntraced(function* (
  world,
  options = {}
) {
  const lab = yield* Lab
  const allowedIps = [...tunnelAddresses.networks, ...(options.allowedIps ?? [])]
  const [, , processId, serial] = lab.id.split("-")
  return yield* startWireguardGo({
    host: "client",
    device: `wg${processId}x${serial}`,
    privateKey: world.clientKeys.privateKey,
    addresses: [`${tunnelAddresses.client.v4}/32`, `${tunnelAddresses.client.v6}/128`],
    routes: allowedIps,
    peers: [
      {
        publicKey: world.gateway.publicKey,
        allowedIps,
        endpoint: options.endpoint ?? `${outer.gateway.v4}:${gatewayPort}`,
        ...(options.keepalive === undefined ? {} : { keepalive: options.keepalive }),
        ...(options.presharedKey === undefined ? {} : { presharedKey: options.presharedKey })
      }
    ]
  })
})

/** Connects the lab's client with `sallyport connect`. */
export const connectSallyport = (
  world: World,
  endpoint?: string,
  env?: Readonly<Record<string, string>>
): Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> =>
  startClient(
    clientConf({
      privateKey: world.clientKeys.privateKey,
      gatewayPublicKey: world.gateway.publicKey,
      ...(endpoint === undefined ? {} : { endpoint })
    }),
    env
  )
