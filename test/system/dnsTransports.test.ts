/** A real server behind each transport: unbound, which speaks UDP, TCP, TLS and HTTP/2. */
import * as childProcess from "node:child_process"
import { once } from "node:events"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as tls from "node:tls"
import { assert, describe, it } from "@effect/vitest"
import * as Effect from "effect/Effect"
import { recordType } from "../../src/dns/registry.ts"
import { LabError } from "../../src/lab/demo/Lab.ts"
import { Upstream } from "../../src/dns/Upstream.ts"
import type { ResolverServer } from "../../src/model/ResolverSet.ts"
import * as UpstreamLive from "../../layers/dns/Upstream.ts"
import { certificateAuthority } from "../support/certificates.ts"
import { somePort } from "../support/somePort.ts"

const address = "127.0.0.1"

/** unbound with one name of its own, at three ports. */
const startUnbound = Effect.gen(function* () {
  const authority = yield* certificateAuthority
  const certificate = yield* Effect.promise(() => authority.issue("DNS:dns.test"))
  tls.setDefaultCACertificates([authority.cert])
  const folder = yield* Effect.acquireRelease(
    Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-unbound-"))),
    (made) => Effect.promise(() => fs.rm(made, { recursive: true }))
  )
  const at = (name: string): string => path.join(folder, name)
  const configOf = (plain: number, overTls: number, overHttps: number) => `server:
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
  })
  const start = Effect.gen(function* () {
    const [plain, overTls, overHttps] = [somePort(), somePort(), somePort()]
    yield* Effect.promise(() => fs.writeFile(at("unbound.conf"), configOf(plain, overTls, overHttps)))
    const child = yield* Effect.acquireRelease(
      Effect.sync(() =>
        childProcess.spawn("unbound", ["-d", "-c", at("unbound.conf")], { stdio: ["ignore", "ignore", "pipe"] })
      ),
      (child) =>
        Effect.promise(async () => {
          if (child.exitCode !== null) return
          const ended = once(child, "exit")
          child.kill()
          await ended
        })
    )
    let output = ""
    yield* Effect.callback<void, LabError>((resume) => {
      child.stderr.on("data", (chunk: Buffer) => {
        output += chunk.toString()
        if (output.includes("start of service")) resume(Effect.void)
      })
      child.once("exit", () => resume(Effect.fail(new LabError({ message: `unbound has ended: ${output}` }))))
    })
    return { plain, overTls, overHttps, pin: certificate.pin }
  })
  // Another program may have one of the ports.
  return yield* Effect.retry(start, { times: 9 })
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
