/** A real server behind each transport: unbound, which speaks UDP, TCP, TLS and HTTP/2. */
import * as childProcess from "node:child_process"
import * as fs from "node:fs/promises"
import * as net from "node:net"
import * as os from "node:os"
import * as path from "node:path"
import * as tls from "node:tls"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import * as Schedule from "effect/Schedule"
import { recordType } from "../../src/dns/registry.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import * as UpstreamLive from "../../layers/dns/Upstream.ts"
import { certificateAuthority } from "../support/certificates.ts"

const address = "127.0.0.1"

/** Ports that were free a moment ago. */
const freePorts = (count: number): Effect.Effect<ReadonlyArray<number>> =>
  Effect.promise(async () => {
    const servers = await Promise.all(
      Array.from(
        { length: count },
        () =>
          new Promise<net.Server>((resolve) => {
            const server = net.createServer().listen(0, address, () => resolve(server))
          })
      )
    )
    const ports = servers.map((server) => (server.address() as net.AddressInfo).port)
    await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))))
    return ports
  })

/** unbound with one name of its own, at three ports. */
const startUnbound = Effect.gen(function* () {
  const authority = yield* certificateAuthority
  const certificate = yield* Effect.promise(() => authority.issue("DNS:dns.test"))
  tls.setDefaultCACertificates([authority.cert])
  const [plain, overTls, overHttps] = yield* freePorts(3)
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-unbound-"))),
    (made) => Effect.promise(() => fs.rm(made, { recursive: true }))
  )
  const at = (name: string): string => path.join(folder, name)
  const config = `server:
  directory: "${folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  do-daemonize: no
  port: ${plain}
  interface: ${address}@${plain}
  interface: ${address}@${overTls}
  interface: ${address}@${overHttps}
  tls-port: ${overTls}
  https-port: ${overHttps}
  tls-service-key: "${at("key.pem")}"
  tls-service-pem: "${at("cert.pem")}"
  access-control: 127.0.0.0/8 allow
  local-zone: test static
  local-data: "app.test 60 A 10.0.0.1"
  module-config: "iterator"
remote-control:
  control-enable: no
`
  yield* Effect.promise(async () => {
    await fs.writeFile(at("key.pem"), certificate.key)
    await fs.writeFile(at("cert.pem"), certificate.cert)
    await fs.writeFile(at("unbound.conf"), config)
  })
  yield* Effect.acquireRelease(
    Effect.sync(() => childProcess.spawn("unbound", ["-d", "-c", at("unbound.conf")], { stdio: "ignore" })),
    (child) =>
      Effect.promise(
        () =>
          new Promise<void>((resolve) => {
            child.once("exit", () => resolve())
            child.kill()
          })
      )
  )
  return { plain: plain!, overTls: overTls!, overHttps: overHttps!, pin: certificate.pin }
})

describe("unbound", () => {
  it.live("answers over UDP, TCP, TLS and HTTPS, keeps connections, and is believed by name or pin only", () =>
    Effect.gen(function* () {
      const { overHttps, overTls, pin, plain } = yield* startUnbound
      const named = { _tag: "Name", name: "dns.test" } as const
      const pinned = { _tag: "Pin", sha256: pin } as const
      const other = { _tag: "Name", name: "other.test" } as const
      const servers: Readonly<Record<string, ResolverServer>> = {
        udp: { transport: "udp", address, port: plain },
        tcp: { transport: "tcp", address, port: plain },
        tls: { transport: "tls", address, port: overTls, identity: named },
        pinned: { transport: "tls", address, port: overTls, identity: pinned },
        https: { transport: "https", address, port: overHttps, identity: named, path: "/dns-query" }
      }
      const strangers: Readonly<Record<string, ResolverServer>> = {
        tls: { transport: "tls", address, port: overTls, identity: other },
        https: { transport: "https", address, port: overHttps, identity: other, path: "/dns-query" }
      }
      const sets = Object.fromEntries(
        [
          ...Object.entries(servers),
          ...Object.entries(strangers).map(([name, s]) => [`${name} of others`, s] as const)
        ].map(([name, server]) => [name, { servers: [server], order: "fallback" as const }])
      )
      yield* Effect.gen(function* () {
        const upstream = yield* Upstream
        const ask = (set: string, domain: string) => upstream.exchange(set, { domain, type: recordType.A })
        // Until it is up.
        yield* ask("udp", "app.test").pipe(Effect.retry({ schedule: Schedule.spaced("50 millis"), times: 400 }))
        for (const set of Object.keys(servers)) {
          const before = (yield* upstream.counters)["stream_connections"]!
          for (let i = 0; i < 10; i++) {
            const found = yield* ask(set, "app.test")
            assert.deepStrictEqual(
              found.answers.map(({ data, name }) => ({ data, name })),
              [{ name: "app.test", data: { _tag: "Address", address: "10.0.0.1" } }],
              set
            )
          }
          assert.strictEqual((yield* ask(set, "none.test")).rcode, 3, set)
          const made = (yield* upstream.counters)["stream_connections"]! - before
          assert.strictEqual(made, set === "udp" ? 0 : 1, set)
        }
        for (const set of Object.keys(strangers)) {
          const { reason } = yield* Effect.flip(ask(`${set} of others`, "app.test"))
          assert.match("detail" in reason ? reason.detail : "", /its certificate is for another name/)
        }
      }).pipe(Effect.provide(UpstreamLive.layer({ sets, resolvConf: os.devNull })))
    })
  )
})
