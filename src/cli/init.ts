import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { defaultConfigPath } from "../config/defaultPaths.ts"
import { defaultListenPort } from "../config/GatewayConfig.ts"
import { ConfigError } from "../config/problem.ts"
import { parseHostPort } from "../config/values.ts"
import { isLocalNetwork } from "../dns/privateZones.ts"
import { shellWord } from "../events/printable.ts"
import { parseNetwork } from "../packet/address.ts"
import { formatHostPort } from "../packet/endpoint.ts"
import { configFlag } from "./configFlag.ts"
import { HostAddress } from "./HostAddress.ts"
import { fromFlag } from "./usageError.ts"

/** `sallyport init`: a first file to begin with. */
export const init = Command.make(
  "init",
  {
    config: configFlag,
    endpoint: Flag.String("endpoint").pipe(
      Flag.withMetavar("<host:port>"),
      Flag.withDescription("What clients dial (default: a guess, this host's address on its way out)"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ config: file, endpoint }) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const { host, port } = Option.isSome(endpoint)
      ? yield* fromFlag("--endpoint", parseHostPort(endpoint.value, defaultListenPort))
      : { host: (yield* (yield* HostAddress).wayOut) ?? example, port: defaultListenPort }
    const dialled = formatHostPort(host, port)
    const doubt = Option.isSome(endpoint) ? null : doubtOf(host)
    // Not `recursive`, which tries without end where a file system such as /proc takes no directories.
    yield* Effect.ignore(fs.makeDirectory(path.dirname(file)))
    yield* Effect.mapError(
      fs.writeFileString(file, firstFile(dialled, port, doubt), { flag: "wx", mode: 0o600 }),
      ({ reason }) =>
        new ConfigError({
          message:
            reason._tag === "AlreadyExists"
              ? `${file} is there already and stays as it is — name another file with --config`
              : `${file} cannot be written (${reason._tag}) — run as root, or name another file with --config`
        })
    )
    // A directory of the gateway's user: root writes the file for that one.
    const { gid, uid } = yield* Effect.orElseSucceed(fs.stat(path.dirname(file)), () => nobody)
    if (Option.isSome(uid) && Option.isSome(gid)) yield* Effect.ignore(fs.chown(file, uid.value, gid.value))
    yield* Console.log(`${file} is written`)
    if (doubt !== null) yield* Console.log(`its endpoint, ${dialled}, is ${doubt}`)
    const at = file === defaultConfigPath ? "" : ` --config ${shellWord(file)}`
    yield* Console.log(`next: sallyport up${at}, and in another shell: sallyport client add NAME --group GROUP${at}`)
    yield* Console.log(`then write down what that group may reach, and: sallyport check${at}, sallyport reload${at}`)
  })
).pipe(Command.withDescription("Write a first configuration with comments; what is there is never replaced"))

const nobody = { uid: Option.none<number>(), gid: Option.none<number>() }

const example = "vpn.example.com"

/** What is to be thought of an endpoint that nobody gave. */
const doubtOf = (host: string): string => {
  if (host === example) return "an example, as this host has no way out: change it to what clients dial"
  const guess = "a guess, this host's address on its way out"
  const isPrivate = isLocalNetwork(parseNetwork(host)!)
  return isPrivate
    ? `${guess}: it is private, so clients elsewhere need the public address or name that leads here`
    : `${guess}: change it if clients are to dial another address or a name`
}

const firstFile = (
  endpoint: string,
  port: number,
  doubt: string | null
): string => `# What this gateway does. "sallyport check" says what the file means; docs/configuration.md has every key.

# What clients dial: a name or address of this host, and its UDP port.
${doubt === null ? "" : `# This one is ${doubt}.\n`}endpoint: "${endpoint}"
${port === defaultListenPort ? "" : `listen: ${port}\n`}
# DNS servers that know the private names; without any the system's are asked.
# resolvers:
#   corp: ["udp://10.0.0.53", "udp://10.0.1.53"]

# Who may connect: "sallyport client add NAME --group eng" adds one, with its key.
clients: {}

# What they may reach: a name, a pattern (in quotes) or a network, for groups or clients.
# resources:
#   gitlab: { name: gitlab.corp.internal, ports: [tcp/22, tcp/443, icmp], resolver: corp, allow: [eng] }
#   services: { name: "*.svc.corp.internal", allow: [eng] }
#   lab: { cidr: 10.20.0.0/16, allow: [eng], expires: 2027-12-31 }
`
