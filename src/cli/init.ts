import * as Command from "effect/cli/Command"
import * as Flag from "effect/cli/Flag"
import * as Console from "effect/Console"
import * as Effect from "effect/Effect"
import * as FileSystem from "effect/FileSystem"
import * as Option from "effect/Option"
import * as Path from "effect/Path"
import { ConfigError } from "../config/problem.ts"
import { parseHostPort } from "../config/values.ts"
import { formatHostPort } from "../packet/endpoint.ts"
import { configFlag } from "./configFlag.ts"

/** `sallyport init`: a first file to begin with. */
export const init = Command.make(
  "init",
  {
    config: configFlag,
    endpoint: Flag.String("endpoint").pipe(
      Flag.withMetavar("<host:port>"),
      Flag.withDescription("What clients dial (default: an example, to be changed)"),
      Flag.optional
    )
  },
  Effect.fnUntraced(function* ({ config: file, endpoint }) {
    const fs = yield* FileSystem.FileSystem
    const path = yield* Path.Path
    const given = Option.getOrElse(endpoint, () => example)
    const { host, port } = yield* Effect.mapError(
      Effect.fromResult(parseHostPort(given, 51820)),
      ({ cause, fix }) => new ConfigError({ message: `--endpoint: ${cause} — ${fix}` })
    )
    yield* Effect.ignore(fs.makeDirectory(path.dirname(file), { recursive: true }))
    yield* Effect.mapError(
      fs.writeFileString(file, firstFile(formatHostPort(host, port), port), { flag: "wx", mode: 0o600 }),
      ({ reason }) =>
        new ConfigError({
          message:
            reason._tag === "AlreadyExists"
              ? `${file} is there already and stays as it is — name another file with --config`
              : `${file} cannot be written (${reason._tag}) — run as root, or name another file with --config`
        })
    )
    yield* Console.log(`${file} is written`)
    if (Option.isNone(endpoint)) {
      yield* Console.log(`change its endpoint, ${example}, to the address and UDP port of this host that clients dial`)
    }
    yield* Console.log("next: write down a resource, then: sallyport check, sallyport up, sallyport client add NAME")
  })
).pipe(Command.withDescription("Write a first configuration with comments; what is there is never replaced"))

const example = "vpn.example.com:51820"

const firstFile = (
  endpoint: string,
  port: number
): string => `# What this gateway does. "sallyport check" says what the file means; docs/configuration.md has every key.

# What clients dial: a name or address of this host, and its UDP port.
endpoint: "${endpoint}"
${port === 51820 ? "" : `listen: ${port}\n`}
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
