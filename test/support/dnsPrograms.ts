/** Programs on the client that look names up in their own ways, each with a stub resolver of somebody else's writing. */
import { Effect, Schedule, type Scope } from "effect"
import { fileURLToPath } from "node:url"
import { tunnelAddresses } from "../../src/lab/demo/tunnel.ts"
import { Lab, type LabError } from "../../src/lab/demo/Lab.ts"
import { startUnbound } from "./nameServers.ts"

/** What a program found: addresses it was told and the page it opened, or its complaint, as it prints them. */
export type LookUp = (name: string) => Effect.Effect<string, LabError, Lab>

/** The command sees this `resolv.conf`, and nobody else does. */
const withResolvConf = Effect.fnUntraced(function* (lines: ReadonlyArray<string>, command: ReadonlyArray<string>) {
  const lab = yield* Lab
  const file = yield* lab.writeFile(`client-${lines.join("-").replaceAll(/\W/g, "-")}.conf`, `${lines.join("\n")}\n`)
  return ["sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file, ...command]
})

const tunnelDns = `nameserver ${tunnelAddresses.gateway.v4}`

const run = Effect.fnUntraced(function* (
  resolvConf: ReadonlyArray<string>,
  command: ReadonlyArray<string>,
  env: Readonly<Record<string, string>> = {}
) {
  const lab = yield* Lab
  const { stderr, stdout } = yield* lab.attempt("client", yield* withResolvConf(resolvConf, command), {
    timeout: "30 seconds",
    env
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

/** `search` and `options` as a client has them that uses short names a lot. */
export const searching = (domain: string): ReadonlyArray<string> => [tunnelDns, `search ${domain}`, "options ndots:5"]

const muslSource = `
#include <netdb.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>
int main(int count, char **words) {
  struct addrinfo wanted = { .ai_socktype = SOCK_STREAM }, *all, *one;
  int error = count < 2 ? EAI_NONAME : getaddrinfo(words[1], "80", &wanted, &all);
  if (error) return puts(gai_strerror(error)), 1;
  char text[4096];
  for (one = all; one; one = one->ai_next)
    if (!getnameinfo(one->ai_addr, one->ai_addrlen, text, sizeof text, 0, 0, NI_NUMERICHOST)) puts(text);
  fflush(stdout);
  for (one = all; one; one = one->ai_next) {
    int stream = socket(one->ai_family, one->ai_socktype, one->ai_protocol);
    if (stream < 0 || connect(stream, one->ai_addr, one->ai_addrlen)) continue;
    dprintf(stream, "GET / HTTP/1.0\\r\\nHost: %s\\r\\n\\r\\n", words[1]);
    for (ssize_t got; (got = read(stream, text, sizeof text)) > 0;) write(1, text, got);
    return 0;
  }
  return perror("connect"), 1;
}
`

/** getaddrinfo of musl: all servers and both families at once, no patience with answers that contradict each other. */
export const buildMusl: Effect.Effect<(resolvConf?: ReadonlyArray<string>) => LookUp, LabError, Lab> = Effect.gen(
  function* () {
    const lab = yield* Lab
    const source = yield* lab.writeFile("musl.c", muslSource)
    const program = `${lab.directory}/musl`
    yield* lab.exec("client", ["musl-gcc", "-static", "-o", program, source], { timeout: "60 seconds" })
    return (resolvConf = [tunnelDns]) =>
      (name) =>
        run(resolvConf, [program, name])
  }
)

/** Go's own resolver, in a load generator written in Go. */
export const go: LookUp = (name) =>
  run([tunnelDns], ["hey", "-n", "1", "-c", "1", "-t", "20", `http://${name}/`], { GODEBUG: "netdns=go" })

/** c-ares, which is in Node. */
export const cares: LookUp = (name) =>
  run([tunnelDns], [process.execPath, fileURLToPath(new URL("./caresMain.ts", import.meta.url)), name])

/** systemd-resolved with its stub listener on the client, in a world of its own: nothing of it reaches the machine. */
export const startResolved: Effect.Effect<LookUp, LabError, Lab | Scope.Scope> = Effect.gen(function* () {
  const lab = yield* Lab
  const unpacked = fileURLToPath(new URL("../../node_modules/.cache/debian", import.meta.url))
  const config = yield* lab.writeFile(
    "resolved.conf",
    `[Resolve]\nDNS=${tunnelAddresses.gateway.v4}\nFallbackDNS=\nDomains=~.\nLLMNR=no\nMulticastDNS=no\nDNSSEC=no\n`
  )
  // It gives its privileges up before it reads its configuration.
  const start = `set -e
mount -t tmpfs tmpfs /run
mkdir -p /run/systemd /run/etc
install -m 644 "$0" /run/etc/resolved.conf
cp /etc/passwd /run/passwd
grep -q ^systemd-resolve: /run/passwd || echo systemd-resolve:x:997:997::/:/usr/sbin/nologin >> /run/passwd
mount --bind /run/passwd /etc/passwd
mount --bind /run/etc /etc/systemd
LD_LIBRARY_PATH=$(echo "$1"/usr/lib/*/systemd) exec "$1/lib/systemd/systemd-resolved"
`
  const child = yield* lab.spawn("client", ["sh", "-c", start, config, unpacked])
  const answers = lab.exec("client", ["dig", "@127.0.0.53", "+time=1", "+tries=1", "localhost"])
  yield* Effect.retry(answers, { schedule: Schedule.spaced("100 millis"), times: 100 }).pipe(
    Effect.catch(() => Effect.flatMap(child.output, (text) => Effect.die(new Error(`systemd-resolved: ${text}`))))
  )
  return glibc(["nameserver 127.0.0.53"])
})

/** A validating unbound on the client that believes one zone's key; yields its address, too. */
export const startValidator = Effect.fnUntraced(function* (anchor: string) {
  // systemd-resolved has 127.0.0.53 and 127.0.0.54.
  const address = "127.0.0.2"
  yield* startUnbound({
    host: "client",
    address,
    upstream: tunnelAddresses.gateway.v4,
    server: ['module-config: "validator iterator"', "do-not-query-localhost: no", `trust-anchor: "${anchor}"`]
  })
  return { address, lookUp: glibc([`nameserver ${address}`]) }
})
