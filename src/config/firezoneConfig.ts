/** The environment of the portal mode: the variables of the gateway that this one replaces. */
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import type { LogLevel } from "effect/LogLevel"
import * as Redacted from "effect/Redacted"
import * as Result from "effect/Result"
import { defaultVersion, isVersion } from "../control/firezone/announcedVersion.ts"
import { readApiUrl } from "../control/firezone/handshake.ts"
import { parseAddress } from "../packet/address.ts"
import { defaultControlSocket, defaultPortalStateDir } from "./defaultPaths.ts"
import { optional } from "./environment.ts"
import { defaultListenHttp, type HostPort, type LogFormat } from "./GatewayConfig.ts"
import { type Firewall, firewalls } from "../model/firewall.ts"
import { parseHumantime } from "./humantime.ts"
import { ConfigError } from "./problem.ts"
import { readBounded } from "./readConfig.ts"
import { parseListenHttp } from "./values.ts"

export interface FirezoneConfig {
  readonly token: Redacted.Redacted
  /** `FIREZONE_ID`; `null`: the id file. */
  readonly firezoneId: string | null
  /** `FIREZONE_NAME`; `null`: the host's name. */
  readonly name: string | null
  readonly apiUrl: string
  readonly endpoint: "v1" | "v2"
  /** Told to the portal. */
  readonly version: string
  /** The token goes where portals of 2024 look for it, from the start. */
  readonly legacy: boolean
  /** Where health is asked for. */
  readonly healthAddress: HostPort
  /** Where the dashboard, metrics and health are served; `null`: nowhere. */
  readonly listenHttp: HostPort | null
  /** Whether metrics tell each client's traffic. */
  readonly metricsPerClient: boolean
  readonly maxPartitionMs: number
  readonly logFormat: LogFormat
  readonly logLevel: LogLevel
  readonly device: string
  /** Tried first; any other port when it is taken. */
  readonly listenPort: number
  readonly mtu: number
  readonly stateDir: string
  readonly controlSocket: string
  readonly firewall: Firewall
  readonly masquerade: boolean
  readonly keepPorts: boolean
  /** What the host's routing rules know the packets of the UDP port by; `null`: no mark. */
  readonly fwmark: number | null
  readonly trackUdp: boolean
}

const tokenVariable = "FIREZONE_TOKEN"
const defaultApiUrl = "wss://api.firezone.dev"
const day = 86_400_000

/** Where systemd puts the token, if it does. */
export const credentialFile = Effect.map(optional("CREDENTIALS_DIRECTORY"), (directory) =>
  directory === null ? [] : [`${directory}/${tokenVariable}`]
)

/** The token of `FIREZONE_TOKEN` or of the systemd credential of that name; `null`: this is no gateway of a portal. */
export const readToken = Effect.gen(function* () {
  const variable = yield* optional(tokenVariable)
  if (variable !== null) return Redacted.make(variable, { label: tokenVariable })
  const [path] = yield* credentialFile
  if (path === undefined) return null
  const fs = yield* FileSystem.FileSystem
  const found = yield* fs.exists(path).pipe(Effect.orElseSucceed(() => false))
  if (!found) return null
  const text = yield* readBounded(path)
  const token = text.trim()
  if (token === "") return yield* new ConfigError({ message: `the credential ${path} is empty — put the token in it` })
  return Redacted.make(token, { label: tokenVariable })
})

/** Everything else; a value that makes no sense is an error of one line. */
export const readFirezoneConfig = Effect.fn("Config.readEnvironment")(function* (
  token: Redacted.Redacted
): Effect.fn.Return<FirezoneConfig, ConfigError> {
  if (!/^[!-~\s]{1,4096}$/.test(Redacted.value(token))) {
    return yield* wrong(tokenVariable, "it is no token", "copy it from the portal again")
  }
  const apiUrl = (yield* optional("FIREZONE_API_URL")) ?? defaultApiUrl
  const url = readApiUrl(apiUrl)
  if (Result.isFailure(url)) {
    return yield* wrong("FIREZONE_API_URL", url.failure, `write for example ${defaultApiUrl}`)
  }
  const firezoneId = yield* optional("FIREZONE_ID")
  if (firezoneId !== null && !/^[!-~]{1,256}$/.test(firezoneId)) {
    return yield* wrong("FIREZONE_ID", "it is no id", "use letters, digits and dashes")
  }
  const name = yield* optional("FIREZONE_NAME")
  if (name !== null && name.length > 255) {
    return yield* wrong("FIREZONE_NAME", "it is longer than 255 characters", "use a shorter name")
  }
  return {
    token,
    firezoneId,
    name,
    apiUrl: url.success,
    endpoint: yield* choice("SALLYPORT_PORTAL_ENDPOINT", { v1: "v1", v2: "v2" } as const, "v1"),
    version: yield* version("SALLYPORT_PORTAL_VERSION", defaultVersion),
    legacy: yield* flag("SALLYPORT_PORTAL_TOKEN_IN_URL", false),
    healthAddress: yield* address("HEALTH_CHECK_ADDR", { host: "0.0.0.0", port: 8080 }),
    listenHttp: yield* listenHttp("SALLYPORT_LISTEN_HTTP"),
    metricsPerClient: yield* flag("SALLYPORT_METRICS_PER_CLIENT", false),
    maxPartitionMs: yield* duration("FIREZONE_MAX_PARTITION_TIME", day),
    logFormat: yield* choice("FIREZONE_LOG_FORMAT", { human: "human", json: "json" } as const, "human"),
    logLevel: levels[((yield* optional("RUST_LOG")) ?? "info").toLowerCase()] ?? "Info",
    device: "tun-firezone",
    listenPort: yield* port("SALLYPORT_PORT", 52_625),
    mtu: 1_280,
    stateDir: (yield* optional("STATE_DIRECTORY")) ?? defaultPortalStateDir,
    controlSocket: (yield* optional("SALLYPORT_CONTROL_SOCKET")) ?? defaultControlSocket,
    firewall: yield* choice("SALLYPORT_FIREWALL", firewalls, "nftables"),
    masquerade: yield* flag("SALLYPORT_MASQUERADE", true),
    fwmark: yield* mark("SALLYPORT_FWMARK"),
    keepPorts: yield* flag("SALLYPORT_KEEP_PORTS", false),
    trackUdp: yield* flag("SALLYPORT_TRACK_UDP", true)
  }
})

const wrong = (variable: string, cause: string, fix: string) =>
  Effect.fail(new ConfigError({ message: `${variable}: ${cause} — ${fix}` }))

const choice = Effect.fnUntraced(function* <A>(variable: string, choices: Readonly<Record<string, A>>, otherwise: A) {
  const text = yield* optional(variable)
  if (text === null) return otherwise
  const known = Object.hasOwn(choices, text.toLowerCase()) ? choices[text.toLowerCase()] : undefined
  return (
    known ?? (yield* wrong(variable, `${quote(text)} is unknown`, `use one of: ${Object.keys(choices).join(", ")}`))
  )
})

const flag = (variable: string, otherwise: boolean) =>
  choice(variable, { true: true, "1": true, yes: true, false: false, "0": false, no: false }, otherwise)

const version = Effect.fnUntraced(function* (variable: string, otherwise: string) {
  const text = (yield* optional(variable)) ?? otherwise
  if (isVersion(text)) return text
  return yield* wrong(variable, `${quote(text)} is no version`, `write for example ${otherwise}`)
})

const duration = Effect.fnUntraced(function* (variable: string, otherwise: number) {
  const text = yield* optional(variable)
  if (text === null) return otherwise
  const millis = parseHumantime(text)
  if (millis !== undefined && millis > 0) return millis
  return yield* wrong(variable, `${quote(text)} is no duration`, "write for example 24h or 15min")
})

const port = Effect.fnUntraced(function* (variable: string, otherwise: number) {
  const text = yield* optional(variable)
  if (text === null) return otherwise
  if (/^\d{1,5}$/.test(text) && Number(text) <= 65_535) return Number(text)
  return yield* wrong(variable, `${quote(text)} is no port`, "write a number from 0 to 65535")
})

const mark = Effect.fnUntraced(function* (variable: string) {
  const text = yield* optional(variable)
  if (text === null) return null
  const value = /^(?:\d{1,10}|0[xX][0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : 0
  if (value >= 1 && value <= 0xffff_ffff) return value
  return yield* wrong(variable, `${quote(text)} is no mark`, "write a number from 1 to 0xffffffff, for example 0xca6c")
})

const address = Effect.fnUntraced(function* (variable: string, otherwise: HostPort) {
  const text = yield* optional(variable)
  if (text === null) return otherwise
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([0-9.]+)):(\d{1,5})$/.exec(text)
  const host = match?.[1] ?? match?.[2]
  if (host !== undefined && parseAddress(host) !== undefined && Number(match![3]) <= 65_535) {
    return { host, port: Number(match![3]) }
  }
  return yield* wrong(variable, `${quote(text)} is no address with a port`, "write for example 0.0.0.0:8080")
})

const listenHttp = Effect.fnUntraced(function* (variable: string) {
  const text = yield* optional(variable)
  if (text === null) return defaultListenHttp
  const parsed = parseListenHttp(text)
  return Result.isSuccess(parsed) ? parsed.success : yield* wrong(variable, parsed.failure.cause, parsed.failure.fix)
})

const quote = (text: string): string => JSON.stringify(text.slice(0, 100))

const levels: Readonly<Record<string, LogLevel>> = {
  trace: "Trace",
  debug: "Debug",
  info: "Info",
  warn: "Warn",
  error: "Error"
}
