/** Programs on the client that look names up in their own ways, each with a stub resolver of somebody else's writing. */
import { Effect } from "effect"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { Lab, type LabError } from "../../src/lab/demo/Lab.ts"

/** What a program found: addresses it was told and the page it opened, or its complaint, as it prints them. */
type LookUp = (name: string) => Effect.Effect<string, LabError, Lab>

/** The command sees this `resolv.conf`, and nobody else does. */
const withResolvConf = Effect.fnUntraced(function* (lines: ReadonlyArray<string>, command: ReadonlyArray<string>) {
  const lab = yield* Lab
  const file = yield* lab.writeFile(`client-${lines.join("-").replaceAll(/\W/g, "-")}.conf`, `${lines.join("\n")}\n`)
  return ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file, ...command]
})

const tunnelDns = `nameserver ${tunnelAddresses.gateway.v4}`

const run = Effect.fnUntraced(function* (resolvConf: ReadonlyArray<string>, command: ReadonlyArray<string>) {
  const lab = yield* Lab
  const { stderr, stdout } = yield* lab.attempt("client", yield* withResolvConf(resolvConf, command), {
    timeout: "30 seconds"
  })
  return stdout + stderr
})

/** getaddrinfo of glibc, asked by `getent` and `curl`. */
export const glibc =
  (resolvConf: ReadonlyArray<string> = [tunnelDns]): LookUp =>
  (name) =>
    run(resolvConf, [
      "sh",
      "-c",
      'getent ahosts "$0" || echo unknown; curl --silent --show-error --max-time 20 "http://$0/"',
      name
    ])
