import * as Argument from "effect/cli/Argument"
import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import { ConfigError } from "../config/problem.ts"
import { parseDevice, parseKey } from "../config/values.ts"
import { load } from "./load.ts"
import { Programs } from "./Programs.ts"
import { warnOfOpenSecrets, warnOfPlainPortal } from "./secretFiles.ts"
import { switchFlag } from "./switchFlag.ts"
import { fromFlag, UsageError } from "./usageError.ts"

const keyIn = (file: string, text: string) =>
  Effect.mapError(
    Effect.fromResult(parseKey(text.trim())),
    ({ cause, fix }) => new ConfigError({ message: `${file}: ${cause} — ${fix}` })
  )

/** `sallyport connect FILE.conf`, with a wg-quick file, or `--portal`: be a client until told to stop. */
export const connect = Command.make(
  "connect",
  {
    file: Argument.String("file").pipe(
      Argument.withDescription("A WireGuard client file (wg-quick)"),
      Argument.optional
    ),
    portal: switchFlag(
      "portal",
      "Be a client of the portal at FIREZONE_API_URL, with FIREZONE_TOKEN (and FIREZONE_ID, FIREZONE_NAME)"
    ),
    device: Flag.String("device").pipe(
      Flag.withMetavar("<name>"),
      Flag.withDescription("The name of the tunnel's device (default: sallyport-c0)"),
      Flag.optional
    ),
    dns: switchFlag("dns", "Let systemd-resolved ask the file's DNS servers, for the file's domains if it names any")
  },
  Effect.fnUntraced(function* ({ device, dns, file, portal }) {
    const programs = yield* Programs
    if (portal === Option.isSome(file)) {
      return yield* new UsageError({ message: "connect takes either a file or --portal — name one of them" })
    }
    if (Option.isNone(file)) {
      if (dns || Option.isSome(device)) {
        return yield* new UsageError({ message: "--device and --dns are for a file — leave them out with --portal" })
      }
      const { readClientEnvironment } = yield* load(() => import("../lab/client/clientEnvironment.ts"))
      const config = yield* readClientEnvironment()
      return yield* Effect.andThen(warnOfPlainPortal(config.apiUrl), programs.connectPortal(config))
    }
    const { readBounded } = yield* load(() => import("../config/readConfig.ts"))
    const { parseWireguardConf } = yield* load(() => import("../config/wireguardConf.ts"))
    const conf = yield* Effect.fromResult(parseWireguardConf(yield* readBounded(file.value), file.value))
    const { privateKeyFile } = conf
    yield* warnOfOpenSecrets(privateKeyFile === null ? [file.value] : [privateKeyFile])
    const options = {
      device: Option.isNone(device) ? null : yield* fromFlag("--device", parseDevice(device.value)),
      dns
    }
    const privateKey = conf.privateKey ?? (yield* keyIn(privateKeyFile!, yield* readBounded(privateKeyFile!)))
    yield* programs.connect({ ...conf, privateKey }, options)
  })
).pipe(
  Command.withDescription("Connect this host to a gateway as a client, until told to stop; needs root or CAP_NET_ADMIN")
)
