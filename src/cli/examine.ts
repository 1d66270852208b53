/** Gathers what `doctor` judges: of the configuration, the running gateway, the host and the DNS servers, side by side. */
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Result from "effect/Result"
import { defaultControlSocket } from "../config/defaultPaths.ts"
import type { DoctorFacts, Examined, GatewayFact } from "./doctorFacts.ts"
import { fetchStatus } from "./fetchStatus.ts"
import { HostIpv6 } from "./HostIpv6.ts"
import { HostNames } from "./HostNames.ts"
import { HostProbes } from "./HostProbes.ts"
import { load } from "./load.ts"
import { portalToken } from "./portalToken.ts"
import { openSecrets } from "./secretFiles.ts"
import { counted } from "./textTable.ts"

export const examine = Effect.fnUntraced(function* (file: string) {
  const read = yield* Effect.result(readEither(file))
  const probes = yield* HostProbes
  const socket = Result.isSuccess(read) ? read.success.socket : defaultControlSocket
  const gateway = askStatus(socket)
  const ipv6 = yield* (yield* HostIpv6).missing
  if (Result.isFailure(read)) {
    const problems = read.failure.message.split("\n")
    const facts: DoctorFacts = {
      socket,
      file: { problems },
      gateway: yield* gateway,
      wanted: null,
      host: null,
      servers: [],
      siteHosts: [],
      endpoint: [],
      ipv6
    }
    return facts
  }
  const { wanted, ...about } = read.success
  const names = yield* HostNames
  const facts: DoctorFacts = {
    socket,
    file: about,
    wanted,
    ipv6,
    ...(yield* Effect.all(
      {
        gateway,
        host: probes.host(wanted),
        servers: probes.servers(wanted.resolvers),
        siteHosts: wanted.site === null ? Effect.succeed([]) : probes.siteHosts(wanted.site),
        endpoint: names.lookup(wanted.endpoint.host)
      },
      { concurrency: "unbounded" }
    ))
  }
  return facts
})

interface Read {
  readonly wanted: Examined
  readonly socket: string
  readonly what: string
  readonly warnings: ReadonlyArray<string>
  readonly broken: ReadonlyArray<string>
}

/** The file, or the environment of a gateway at a portal. */
const readEither = Effect.fnUntraced(function* (file: string) {
  const token = yield* portalToken(file)
  const { examinedFile, examinedPortal } = yield* load(() => import("./examined.ts"))
  if (token !== null) {
    const { credentialFile, readFirezoneConfig } = yield* load(() => import("../config/firezoneConfig.ts"))
    const config = yield* readFirezoneConfig(token)
    const read: Read = {
      wanted: examinedPortal(config),
      socket: config.controlSocket,
      what: "the environment names a portal, and is correct",
      warnings: yield* openSecrets([...(yield* credentialFile), config.stateDir]),
      broken: []
    }
    return read
  }
  const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
  const { configRemarks } = yield* load(() => import("./configRemarks.ts"))
  const { readNameFiles } = yield* load(() => import("./readNameFiles.ts"))
  const { failuresOf, testConfig } = yield* load(() => import("./testConfig.ts"))
  const config = yield* readConfig(file)
  const { clients, controlSocket, resources } = config
  const remarks = yield* configRemarks(config, file, yield* Clock.currentTimeMillis)
  const read: Read = {
    wanted: examinedFile(config),
    socket: controlSocket,
    what: `${file} is correct: ${counted(clients.length, "client")}, ${counted(resources.length, "resource")}`,
    warnings: remarks.flatMap(({ text, warning }) => (warning ? [text] : [])),
    broken: failuresOf(yield* testConfig(config, readNameFiles))
  }
  return read
})

const askStatus = (socket: string) =>
  Effect.match(fetchStatus(socket), {
    onSuccess: (report): GatewayFact => ({ _tag: "Runs", report }),
    onFailure: (error): GatewayFact =>
      "notRunning" in error && error.notRunning
        ? { _tag: "Absent", why: error.message }
        : { _tag: "Silent", why: error.message }
  })
