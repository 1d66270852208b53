import * as Effect from "effect/Effect"
import * as Option from "effect/Option"
import type { ResolverServer, ResolverSet } from "../../src/model/ResolverSet.ts"
import type { AskPlan } from "../../src/dns/askPlan.ts"
import { defaultResolvConf, parseResolvConf, type ResolvConf } from "../../src/dns/resolvConf.ts"
import type { Upstream } from "../../src/dns/Upstream.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { NoResolver } from "../../src/resolution/Resolver.ts"
import { watchedFile } from "../host/watchedFile.ts"

/** A file that holds no server may be just being written: it is read again so often, 50 ms apart. */
const readAgain = 5

/** How often resolv.conf is looked at for whether what its servers said still holds. */
const lookEveryMs = 1_000

/** For so long resolv.conf is not read again. */
const freshMs = 100

export interface ResolverSets {
  /** The plan of a set by its name: of the configuration, or `system`, what resolv.conf says now. */
  readonly planOf: (set: string) => Effect.Effect<AskPlan, NoResolver>
  /** The same, where nothing has to be read for it just now. `now`: monotonic milliseconds. */
  readonly planAtOnce: (set: string, now: number) => AskPlan | undefined
  /** See `Upstream`. */
  readonly epoch: Upstream["Service"]["epoch"]
  readonly epochAtOnce: Upstream["Service"]["epochAtOnce"]
}

/** A function where they change while the gateway runs. */
export type SetsByName = Readonly<Record<string, ResolverSet>> | (() => ReadonlyMap<string, ResolverSet>)

export const makeResolverSets = (sets: SetsByName, resolvConf: string, resendMs: number): ResolverSets => {
  const file = watchedFile(resolvConf, parseResolvConf)
  const setOf = (name: string): ResolverSet | undefined =>
    typeof sets === "function" ? sets().get(name) : Object.hasOwn(sets, name) ? sets[name] : undefined
  const seenSets = new Map<string, { readonly set: ResolverSet; readonly text: string; readonly epoch: number }>()
  /** Counts how often the servers of a set of the configuration have changed. */
  const epochOf = (name: string, set: ResolverSet): number => {
    const before = seenSets.get(name)
    if (before?.set === set) return before.epoch
    const text = JSON.stringify(set)
    const epoch = before === undefined ? 0 : before.epoch + (before.text === text ? 0 : 1)
    seenSets.set(name, { set, text, epoch })
    return epoch
  }
  /** The contents without servers that were waited for already. */
  let known: ResolvConf | null = null
  let turn = 0

  const readSystem = Effect.gen(function* () {
    // Without the file, and without a server in it, glibc asks the host itself.
    const read = file.pipe(
      Effect.catchIf(
        (cause) => cause === "ENOENT",
        () => Effect.succeed(defaultResolvConf)
      )
    )
    let conf = yield* read
    for (let i = 0; conf.isDefault && conf !== known && i < readAgain; i++) {
      yield* Effect.sleep(50)
      conf = yield* read
    }
    known = conf.isDefault ? conf : null
    return conf
  }).pipe(Effect.mapError((cause) => new NoResolver({ detail: `${resolvConf} cannot be read (${cause})` })))

  const seen = { servers: "", epoch: 0, lookAt: -Infinity }
  const epochAtOnce = (name: string, now: number): number | undefined => {
    const set = setOf(name)
    if (set !== undefined) return typeof sets === "function" ? epochOf(name, set) : 0
    return now < seen.lookAt ? seen.epoch : undefined
  }
  const epoch = Effect.fnUntraced(function* (name: string) {
    const now = yield* monotonicMillis
    const known = epochAtOnce(name, now)
    if (known !== undefined) return known
    seen.lookAt = now + lookEveryMs
    const conf = yield* Effect.option(file)
    // A file without servers may be just being written.
    if (Option.isNone(conf) || conf.value.isDefault) return seen.epoch
    const servers = conf.value.servers.join(" ")
    if (servers !== seen.servers) seen.epoch++
    seen.servers = servers
    return seen.epoch
  })

  const planOfSystem = ({ attempts, isDefault, noAaaa, overTcp, rotates, servers, timeoutMs }: ResolvConf): AskPlan => {
    const transport = overTcp ? "tcp" : "udp"
    return {
      servers: servers.map((address): ResolverServer => ({ transport, address, port: 53 })),
      order: "fallback",
      first: rotates ? turn++ % servers.length : 0,
      resendMs: timeoutMs ?? resendMs,
      attempts: attempts ?? Infinity,
      noAaaa,
      note: isDefault ? `${resolvConf} names no server` : null
    }
  }
  const planOfSet = (set: ResolverSet): AskPlan => ({
    ...set,
    first: 0,
    resendMs,
    attempts: Infinity,
    noAaaa: false,
    note: null
  })
  /** What resolv.conf said a moment ago. */
  let read: { readonly conf: ResolvConf; readonly until: number } | null = null

  const planAtOnce = (name: string, now: number): AskPlan | undefined => {
    const set = setOf(name)
    if (set !== undefined) return set.servers.length === 0 ? undefined : planOfSet(set)
    return name === "system" && read !== null && now < read.until ? planOfSystem(read.conf) : undefined
  }

  const planOf = Effect.fnUntraced(function* (name: string) {
    const set = setOf(name)
    if (set !== undefined) {
      if (set.servers.length === 0) return yield* new NoResolver({ detail: `the resolver set ${name} has no server` })
      return planOfSet(set)
    }
    if (name !== "system") return yield* new NoResolver({ detail: `there is no resolver set ${name}` })
    const conf = yield* readSystem
    read = conf.isDefault ? null : { conf, until: (yield* monotonicMillis) + freshMs }
    return planOfSystem(conf)
  })
  return { planOf, planAtOnce, epoch, epochAtOnce }
}
