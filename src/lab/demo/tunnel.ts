/** Both ends of the tunnel in the lab: `sallyport up` on the gateway and `sallyport connect` on the client. */
import * as Effect from "effect/Effect"
import type * as Scope from "effect/Scope"
import type { StatusReport } from "../../cli/statusReport.ts"
import { Lab, labAddresses, LabError, type LabHost, type LabProcess } from "./Lab.ts"
import { type AnyReport, anyStatusAt, statusAt } from "./statusAt.ts"
import { untilReady } from "./untilReady.ts"

export const tunnelAddresses = {
  gateway: { v4: "100.64.0.1", v6: "fd00:2021:1111::1" },
  client: { v4: "100.64.0.2", v6: "fd00:2021:1111::2" },
  networks: ["100.64.0.0/10", "fd00:2021:1111::/48"]
} as const

export const gatewayPort = 51820

export interface Gateway {
  readonly process: LabProcess
  readonly publicKey: string
  readonly configPath: string
  /** What it says at its control socket. */
  readonly status: Effect.Effect<StatusReport, LabError>
  /** What of it a gateway of an old commit says as well. */
  readonly anyStatus: Effect.Effect<AnyReport, LabError>
}

/**
 * Starts a gateway with this `sallyport.yaml`, to which state directory and control socket are added, and yields when
 * its status can be read. Starting again with the same `name` finds the state of the last time. Stopped with the scope.
 */
export const startGateway: (options: {
  readonly config: string
  readonly name?: string
  /** Default: `gateway`. */
  readonly host?: LabHost
  /** What is started with `up`; default `sallyport`. */
  readonly program?: ReadonlyArray<string>
  /** More flags of `sallyport up`. */
  readonly flags?: ReadonlyArray<string>
  readonly env?: Readonly<Record<string, string>>
}) => Effect.Effect<Gateway, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (options) {
  const lab = yield* Lab
  const name = options.name ?? "gateway"
  const socket = `${lab.directory}/${name}.sock`
  const configPath = yield* lab.writeFile(
    `${name}.yaml`,
    `${options.config.trimEnd()}\nstate_dir: ${lab.directory}/${name}-state\ncontrol_socket: ${socket}\n`
  )
  const sallyport = lab.program("sallyport")
  const up = [...(options.program ?? sallyport), "up", "--config", configPath, ...(options.flags ?? [])]
  const child = yield* lab.spawn(options.host ?? "gateway", up, { env: options.env ?? {} })
  const anyStatus = anyStatusAt(lab, socket)
  const first = yield* untilReady(child, "sallyport up", anyStatus)
  const status = statusAt(lab, socket)
  return { process: child, publicKey: first.gateway.publicKey, configPath, status, anyStatus }
})

/** A wg-quick file for the lab's client. */
export const clientConf = (options: {
  readonly privateKey: string
  readonly gatewayPublicKey: string
  readonly endpoint?: string
}): string =>
  `[Interface]
PrivateKey = ${options.privateKey}
Address = ${tunnelAddresses.client.v4}/32, ${tunnelAddresses.client.v6}/128
DNS = ${tunnelAddresses.gateway.v4}
MTU = 1280

[Peer]
PublicKey = ${options.gatewayPublicKey}
AllowedIPs = ${tunnelAddresses.networks.join(", ")}
Endpoint = ${options.endpoint ?? `${labAddresses.outer.gateway.v4}:${gatewayPort}`}
`

/** Starts `sallyport connect` on the client and yields when the tunnel's routes are there. Stopped with the scope. */
export const startClient: (
  conf: string,
  env?: Readonly<Record<string, string>>
) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (conf, env = {}) {
  const lab = yield* Lab
  const path = yield* lab.writeFile("client.conf", conf)
  const child = yield* lab.spawn("client", [...lab.program("sallyport"), "connect", path], { env })
  const routed = lab.exec("client", ["ip", "route", "get", tunnelAddresses.gateway.v4]).pipe(
    Effect.filterOrFail(
      (route) => / dev /.test(route) && !/ dev (outer|lo) /.test(route),
      (route) => new LabError({ message: `no route into the tunnel yet: ${route.trim()}` })
    )
  )
  yield* untilReady(child, "sallyport connect", routed)
  return child
})
