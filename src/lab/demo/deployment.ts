/** A whole deployment of the portal mode in the wide-area lab: portal, relays, `sallyport up` as its gateway, a client. */
import * as Effect from "effect/Effect"
import * as Schema from "effect/Schema"
import type * as Scope from "effect/Scope"
import type { StatusReport } from "../../cli/statusReport.ts"
import type { Command } from "../devPortal/commands.ts"
import {
  deviceNames,
  listen,
  portalUrl,
  relayEntries,
  relayHosts,
  type RelayName,
  relayUser,
  tokens
} from "./portalSite.ts"
import { Lab, LabError, type LabProcess } from "./Lab.ts"
import { statusAt } from "./statusAt.ts"
import { untilReady } from "./untilReady.ts"
import { withCompanyDns } from "./withCompanyDns.ts"

/** Starts coturn on the internet; fails when it is not installed. Stopped with the scope. */
export const startRelay: (
  name: RelayName,
  flags?: ReadonlyArray<string>
) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (name, flags = []) {
  const lab = yield* Lab
  const { v4, v6 } = relayHosts[name]
  const files = `${lab.directory}/relay-${name}`
  yield* lab.exec("internet", ["mkdir", "-p", files])
  const child = yield* lab.spawn("internet", [
    "turnserver",
    "-n",
    ...[v4, v6].flatMap((address) => [`--listening-ip=${address}`, `--relay-ip=${address}`]),
    "--realm=firezone",
    "--lt-cred-mech",
    `--user=${relayUser.username}:${relayUser.password}`,
    "--no-cli",
    "--no-tls",
    "--no-dtls",
    "--no-tcp",
    "--no-tcp-relay",
    "--log-file=stdout",
    "--simple-log",
    `--pidfile=${files}/pid`,
    `--userdb=${files}/db`,
    ...flags
  ])
  const listening = lab.exec("internet", ["ss", "-Hlun", `src ${v4} and sport = 3478`]).pipe(
    Effect.filterOrFail(
      (rows) => rows.includes(":3478"),
      () => new LabError({ message: "turnserver does not listen yet" })
    )
  )
  yield* untilReady(child, "turnserver", listening)
  return child
})

export interface Portal {
  readonly process: LabProcess
  /** What an operator can do at the portal's socket; fails when the portal refuses it. */
  readonly command: (command: Command) => Effect.Effect<PortalAnswer, LabError>
}

const PortalAnswer = Schema.Struct({
  ok: Schema.Boolean,
  error: Schema.optionalKey(Schema.String),
  affected: Schema.optionalKey(Schema.Finite),
  devices: Schema.optionalKey(
    Schema.Array(
      Schema.Struct({
        id: Schema.String,
        role: Schema.String,
        name: Schema.String,
        ipv4: Schema.String,
        ipv6: Schema.String,
        joined: Schema.Boolean
      })
    )
  ),
  authorizations: Schema.optionalKey(
    Schema.Array(Schema.Struct({ client: Schema.String, resource: Schema.String, gateway: Schema.String }))
  )
})
type PortalAnswer = typeof PortalAnswer.Type
const decodeAnswer = Schema.decodeUnknownEffect(Schema.fromJsonString(PortalAnswer))

/** Starts the development portal; started again, it knows the authorizations of before. Stopped with the scope. */
export const startPortal: (options: {
  /** Lines below `resources:`. */
  readonly resources: string
  readonly relays: ReadonlyArray<RelayName>
  /** More top-level lines. */
  readonly more?: string
}) => Effect.Effect<Portal, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (options) {
  const lab = yield* Lab
  const socket = `${lab.directory}/portal.sock`
  const file = yield* lab.writeFile(
    "portal.yaml",
    `listen: ${listen.host}:${listen.port}
admin_socket: ${socket}
state_file: ${lab.directory}/portal.json
gateways: { office: { token: ${tokens.gateway} } }
clients: { visitors: { token: ${tokens.client} } }
resources:
${options.resources}
relays: ${JSON.stringify(relayEntries(options.relays))}
${options.more ?? ""}
`
  )
  const child = yield* lab.spawn("internet", [...lab.program("sallyport"), "dev-portal", "--config", file])
  const command: Portal["command"] = Effect.fnUntraced(function* (command) {
    const text = yield* lab.exec(
      "internet",
      ["curl", "-sS", "--max-time", "5", "--unix-socket", socket, "--data-binary", "@-", "http://portal/"],
      { input: JSON.stringify(command) }
    )
    const answer = yield* Effect.mapError(
      decodeAnswer(text),
      (error) => new LabError({ message: `portal: ${error.message}` })
    )
    return answer.ok ? answer : yield* new LabError({ message: `portal: ${answer.error ?? "refused"}` })
  })
  yield* untilReady(child, "sallyport dev-portal", command({ command: "status" }))
  return { process: child, command }
})

export interface PortalGateway {
  readonly process: LabProcess
  /** Path of its control socket. */
  readonly socket: string
  /** What it says there. */
  readonly status: Effect.Effect<StatusReport, LabError>
}

/** Starts `sallyport up` with the portal's environment and yields when it is ready. Stopped with the scope. */
export const startPortalGateway: (options?: {
  readonly env?: Readonly<Record<string, string>>
}) => Effect.Effect<PortalGateway, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (options = {}) {
  const lab = yield* Lab
  const socket = `${lab.directory}/gateway.sock`
  const sallyport = lab.program("sallyport")
  const child = yield* lab.spawn("gateway", yield* withCompanyDns([...sallyport, "up"]), {
    env: {
      FIREZONE_TOKEN: tokens.gateway,
      FIREZONE_API_URL: portalUrl,
      FIREZONE_NAME: deviceNames.gateway,
      STATE_DIRECTORY: `${lab.directory}/gateway-state`,
      SALLYPORT_CONTROL_SOCKET: socket,
      ...options.env
    }
  })
  const status = statusAt(lab, socket)
  yield* untilReady(child, "sallyport up", lab.exec("gateway", ["curl", "-sSf", "http://127.0.0.1:8080/readyz"]))
  return { process: child, socket, status }
})

/** Where the client's programs ask for the names of resources. */
export const clientDns = { v4: "100.100.111.1", v6: "fd00:2021:1111:8000:100:100:111:1" } as const

/** Starts `sallyport connect --portal` and yields when its tunnel's routes are there. Stopped with the scope. */
export const startPortalClient: (
  env?: Readonly<Record<string, string>>
) => Effect.Effect<LabProcess, LabError, Lab | Scope.Scope> = Effect.fnUntraced(function* (env = {}) {
  const lab = yield* Lab
  const child = yield* lab.spawn("client", [...lab.program("sallyport"), "connect", "--portal"], {
    env: {
      FIREZONE_TOKEN: tokens.client,
      FIREZONE_API_URL: portalUrl,
      FIREZONE_ID: deviceNames.client,
      FIREZONE_NAME: deviceNames.client,
      ...env
    }
  })
  const routed = lab.exec("client", ["ss", "-Hlun", `src ${clientDns.v4}`]).pipe(
    Effect.filterOrFail(
      (sockets) => sockets.includes(clientDns.v4),
      () => new LabError({ message: "the client does not serve names yet" })
    )
  )
  yield* untilReady(child, "sallyport connect --portal", routed)
  return child
})
