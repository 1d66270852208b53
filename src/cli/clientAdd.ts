import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Terminal from "effect/Terminal"
import { clientConf } from "../config/clientConf.ts"
import { rightsIn } from "../config/GatewayConfig.ts"
import { ConfigError } from "../config/problem.ts"
import { parseIdentifier, parseKey } from "../config/values.ts"
import { configFlag } from "./configFlag.ts"
import { gatewayKeyFlag, gatewayKeyOf } from "./gatewayKey.ts"
import { HostNames } from "./HostNames.ts"
import { Keys } from "./Keys.ts"
import { load } from "./load.ts"
import { qrCode } from "./qrCode.ts"
import { switchFlag } from "./switchFlag.ts"
import { tellGateway } from "./tellGateway.ts"
import { atMostOne, fromFlag, UsageError } from "./usageError.ts"

/** `sallyport client add NAME`: one client more, and its WireGuard file where its key is made here. */
export const clientAdd = Command.make(
  "add",
  {
    name: Argument.String("name").pipe(Argument.withDescription("What the client is called")),
    config: configFlag,
    groups: Flag.String("group").pipe(
      Flag.withMetavar("<group>"),
      Flag.withDescription("A group of the client; may be given several times"),
      Flag.atLeast(0)
    ),
    publicKey: Flag.String("public-key").pipe(
      Flag.withMetavar("<public key>"),
      Flag.withDescription("The client's own public key (default: a key is made, and shown once)"),
      Flag.optional
    ),
    presharedKey: switchFlag("preshared-key", "Make a preshared key, too"),
    qr: switchFlag("qr", "Show the client's WireGuard file as a QR code for a phone"),
    out: Flag.String("out").pipe(
      Flag.withMetavar("<file>"),
      Flag.withDescription("Write the client's WireGuard file there, readable by its owner only"),
      Flag.optional
    ),
    gatewayKey: gatewayKeyFlag
  },
  Effect.fnUntraced(function* ({ config: file, gatewayKey, groups, name, out, presharedKey, publicKey, qr }) {
    yield* fromFlag("name", parseIdentifier(name))
    for (const group of groups) yield* fromFlag("--group", parseIdentifier(group))
    if (Option.isSome(publicKey)) yield* fromFlag("--public-key", parseKey(publicKey.value))
    if (Option.isSome(publicKey) && qr) {
      return yield* new UsageError({
        message: "--qr needs the private key, which only the client has — leave out --public-key or --qr"
      })
    }
    yield* atMostOne({ "--qr": qr, "--out": Option.isSome(out) })
    const { readConfig } = yield* load(() => import("../config/readConfig.ts"))
    const { addClient } = yield* load(() => import("../config/editClients.ts"))
    const { editFile } = yield* load(() => import("./editFile.ts"))
    const keys = yield* Keys
    const fs = yield* FileSystem.FileSystem
    const terminal = yield* Terminal.Terminal
    const before = yield* readConfig(file)
    const gatewayPublicKey = yield* gatewayKeyOf(gatewayKey, before.controlSocket)
    const privateKey = Option.isSome(publicKey) ? undefined : yield* keys.generate
    const added = {
      name,
      groups: [...new Set(groups)],
      publicKey: privateKey === undefined ? Option.getOrThrow(publicKey) : yield* keys.publicKey(privateKey),
      presharedKey: presharedKey ? yield* keys.generate : null
    }
    const endpoint = yield* (yield* HostNames).lookup(before.endpoint.host)
    const cannotWrite = (what: string) => (error: { readonly reason: { readonly _tag: string } }) =>
      new ConfigError({ message: `${Option.getOrThrow(out)} cannot be written (${error.reason._tag}) — ${what}` })
    const write = editFile(
      file,
      Effect.fnUntraced(function* (text) {
        const edited = yield* Effect.fromResult(addClient(text, file, added))
        const client = edited.config.clients.find(({ id }) => id === name)!
        const conf = clientConf(edited.config, client, {
          gatewayPublicKey,
          endpoint,
          ipv4Only: false,
          dns: "all",
          ...(privateKey === undefined ? {} : { privateKey })
        })
        return { text: edited.text, result: { config: edited.config, client, conf } }
      }),
      // Before the configuration has the client: one whose key is lost would be of no use.
      Effect.fnUntraced(function* ({ conf }) {
        if (Option.isSome(out)) {
          return yield* Effect.mapError(fs.writeFileString(out.value, conf), cannotWrite("free some space"))
        }
        const shown = qr ? yield* qrCode(conf) : conf.trimEnd()
        yield* Effect.mapError(terminal.display(`${shown}\n`), () => notShown(name, file))
      })
    )
    if (Option.isSome(out)) {
      yield* Effect.mapError(
        fs.writeFileString(out.value, "", { flag: "wx", mode: 0o600 }),
        cannotWrite("name a file that is not there")
      )
    }
    const { client, config } = yield* Option.isSome(out)
      ? Effect.uninterruptible(Effect.tapError(write, () => Effect.ignore(fs.remove(out.value))))
      : write
    const reach = rightsIn(config, client.id).map(({ resource }) => resource.id)
    yield* Console.error(
      `${name} is added to ${file} as ${client.tunnel4}; it may reach ${reach.join(" ") || "nothing: no resource allows it or one of its groups"}`
    )
    if (Option.isSome(out)) yield* Console.error(`${out.value} is the client's WireGuard file, with its keys`)
    yield* Console.error(yield* tellGateway(config.controlSocket, file))
  })
).pipe(Command.withDescription("Add a client, and show its WireGuard file once"))

const notShown = (name: string, file: string) =>
  new ConfigError({
    message: `${name} is not added to ${file}: its WireGuard file cannot be shown — name a file with --out`
  })
