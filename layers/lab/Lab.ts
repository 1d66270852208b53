/** The lab on network namespaces of this machine. Needs root, `ip` and `nft`; everything is removed with the scope. */
import { generateKeyPairSync } from "node:crypto"
import { mkdtempSync, rmSync, writeFileSync } from "node:fs"
import { tmpdir } from "node:os"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { ControlClient } from "../../src/cli/ControlClient.ts"
import { statusRequest } from "../../src/cli/fetchStatus.ts"
import { Lab, LabError, type LabHost, type LabProgram } from "../../src/lab/demo/Lab.ts"
import * as ControlClientLive from "../cli/ControlClient.ts"
import { startCapture } from "./capture.ts"
import { attemptCommand, runCommand } from "./command.ts"
import {
  labId,
  type MakeNamespaces,
  makeNamespaces,
  makeSiteNamespaces,
  makeWideNamespaces,
  namespaceOf
} from "./namespaces.ts"
import { checkPrivileges } from "./privileges.ts"
import { startProcess } from "./process.ts"

let serial = 0

/** One new lab each time the layer is built. */
export const layer: Layer.Layer<Lab, LabError> = Layer.effect(Lab, makeLab(makeNamespaces))

const larger = { wide: makeWideNamespaces, site: makeSiteNamespaces }

/** `wide`: the same with client and gateway behind routers of their own; `site`: with two gateways for the same clients. */
export const layerOf = (lab: keyof typeof larger): Layer.Layer<Lab, LabError> => Layer.effect(Lab, makeLab(larger[lab]))

function makeLab(makeHosts: MakeNamespaces) {
  return Effect.gen(function* () {
    yield* checkPrivileges
    const id = labId(process.pid, serial++)
    const directory = yield* Effect.acquireRelease(
      Effect.sync(() => mkdtempSync(join(tmpdir(), `${id}-`))),
      (path) => Effect.sync(() => rmSync(path, { recursive: true, force: true }))
    )
    yield* makeHosts(id)

    const namespace = (host: LabHost) => namespaceOf(id, host)
    const at = (host: LabHost, command: ReadonlyArray<string>) => ["ip", "netns", "exec", namespace(host), ...command]

    return Lab.of({
      id,
      directory,
      namespace,
      program,
      attempt: (host, command, options) => attemptCommand(at(host, command), options),
      exec: (host, command, options) => runCommand(at(host, command), options),
      spawn: (host, command, options) => startProcess(at(host, command), options?.env),
      status,
      writeFile: (name, content) =>
        Effect.try({
          try: () => {
            const path = join(directory, name)
            writeFileSync(path, content, { mode: 0o600 })
            return path
          },
          catch: (error) => new LabError({ message: `cannot write ${name}: ${String(error)}` })
        }),
      capture: (host, options) => startCapture(at(host, [...program("capture"), ...(options?.devices ?? [])])),
      keyPair: Effect.sync(makeKeyPair)
    })
  })
}

const status = (socket: string): Effect.Effect<string, LabError> =>
  Effect.flatMap(ControlClient, ({ request }) => request(socket, statusRequest)).pipe(
    Effect.provide(ControlClientLive.layer),
    Effect.mapError(({ message }) => new LabError({ message }))
  )

const programs: Readonly<Record<LabProgram, string>> = {
  sallyport: "../../src/bin",
  "broken-gateway": "./brokenGatewayMain",
  "dns-server": "./dnsServerMain",
  origin: "./originMain",
  visitor: "./visitorMain",
  capture: "./captureMain"
}

/** The same runtime, the same form (TypeScript source or build output) as this file. */
const program = (name: LabProgram): ReadonlyArray<string> => {
  const extension = import.meta.url.endsWith(".ts") ? ".ts" : ".js"
  return [process.execPath, fileURLToPath(new URL(programs[name] + extension, import.meta.url))]
}

const makeKeyPair = (): { privateKey: string; publicKey: string } => {
  const pair = generateKeyPairSync("x25519")
  const base64 = (text: string | undefined): string => Buffer.from(text ?? "", "base64url").toString("base64")
  return {
    privateKey: base64(pair.privateKey.export({ format: "jwk" }).d),
    publicKey: base64(pair.publicKey.export({ format: "jwk" }).x)
  }
}
