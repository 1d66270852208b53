/** A resolver over real sockets, and what is asked of it. */
import * as dgram from "node:dgram"
import * as fs from "node:fs/promises"
import * as os from "node:os"
import * as path from "node:path"
import * as Clock from "effect/Clock"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Upstream } from "../../src/dns/Upstream.ts"
import type { ResolverSet } from "../../src/model/ResolverSet.ts"
import { type Answer, ResolutionError, Resolver } from "../../src/resolution/Resolver.ts"
import type { ResolverOptions } from "../../layers/dns/Resolver.ts"
import * as ResolverLive from "../../layers/dns/Resolver.ts"
import * as UpstreamLive from "../../layers/dns/Upstream.ts"

export const live = (options: ResolverOptions) =>
  ResolverLive.layer(options).pipe(Layer.provideMerge(UpstreamLive.layer(options)))

export const empty = os.devNull

interface DnsServerAt {
  readonly address: string
  readonly port: number
}

export const overUdp = (servers: ReadonlyArray<DnsServerAt>): ResolverSet => ({
  servers: servers.map(({ address, port }) => ({ transport: "udp", address, port })),
  order: "fallback"
})

/** Runs against the given servers, as the set `corp`. */
export const using =
  (servers: ReadonlyArray<DnsServerAt>, options: Partial<ResolverOptions> = {}) =>
  <A, E>(body: Effect.Effect<A, E, Resolver | Upstream>): Effect.Effect<A, E> =>
    Effect.provide(body, live({ sets: { corp: overUdp(servers) }, hosts: empty, resolvConf: empty, ...options }))

export const resolve = (domain: string, resolver = "corp"): Effect.Effect<Answer, ResolutionError, Resolver> =>
  Resolver.use((r) => r.resolve({ resolver, domain }))

export const reasonOf = (domain: string, resolver = "corp") =>
  Effect.map(Effect.flip(resolve(domain, resolver)), (error) => error.reason)

export const timed = <A, E, R>(effect: Effect.Effect<A, E, R>) =>
  Effect.gen(function* () {
    const start = yield* Clock.currentTimeMillis
    const value = yield* effect
    return [value, (yield* Clock.currentTimeMillis) - start] as const
  })

/** A port of the loopback where nothing listens any more. */
export const deadServer = Effect.promise(
  () =>
    new Promise<DnsServerAt>((resolve) => {
      const socket = dgram.createSocket("udp4")
      socket.bind(0, "127.0.0.1", () => {
        const { port } = socket.address()
        socket.close(() => resolve({ address: "127.0.0.1", port }))
      })
    })
)

export const temporaryFolder = Effect.acquireRelease(
  Effect.promise(() => fs.mkdtemp(path.join(os.tmpdir(), "sallyport-dns-"))),
  (folder) => Effect.promise(() => fs.rm(folder, { recursive: true }))
)

export const write = (file: string, text: string) => Effect.promise(() => fs.writeFile(file, text))
