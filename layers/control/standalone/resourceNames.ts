/** What a client is told of a name that its resources cover: proxy IPs at once, or what is known of the name. */
import * as Effect from "effect/Effect"
import type * as Semaphore from "effect/Semaphore"
import { type AccessReply, ConnectionAcceptor } from "../../../src/access/ConnectionAcceptor.ts"
import type { DnsGrant } from "../../../src/control/standalone/chooseResource.ts"
import type { Slots } from "../../../src/control/standalone/Slots.ts"
import { tunnelAnswerOf } from "../../../src/control/standalone/tunnelAnswerOf.ts"
import type { TunnelAnswer } from "../../../src/dns/tunnelAnswer.ts"
import { IpFamilies, leadsOut6 } from "../../../src/host/IpFamilies.ts"
import { monotonicMillis } from "../../../src/loops/monotonic.ts"
import type { Client } from "../../../src/model/Client.ts"
import { Resolutions } from "../../../src/resolution/Resolutions.ts"
import type { StoredSlots } from "./storedSlots.ts"

/**
 * A question for IPv6 addresses of a name of which nothing is known yet waits this long for its lookup, so that it is answered
 * within 150 ms: most clients prefer IPv6, and what they send without a connection to a name with IPv4 only would be lost.
 */
const familyMs = 140
/**
 * Such questions at a time, and of one client; others are answered at once. Together with those that wait for other servers
 * they leave places at the DNS server free.
 */
const maxHeld = { all: 32, client: 8 }

/** One client's names. */
export interface NamesOfClient {
  readonly client: Client
  readonly slots: Slots
  /** Questions that wait for their name's lookup. */
  held: number
  /** Two questions about one new name must not get two slots. */
  readonly turn: Semaphore.Semaphore
}

export const makeResourceNames = Effect.fnUntraced(function* (stored: StoredSlots) {
  const acceptor = yield* ConnectionAcceptor
  const families = yield* IpFamilies
  const resolutions = yield* Resolutions
  const ways = { some: () => leadsOut6(families.ipv6()), leadsTo: families.leadsTo }
  let held = 0

  /** The state of a name, a little later where that may tell that it has no IPv6. */
  const familyKnown = (of: NamesOfClient, family: 4 | 6, { mapping, state }: NonNullable<AccessReply["mapping"]>) => {
    const matters = family === 6 && state._tag === "Resolving" && ways.some()
    if (!matters || held >= maxHeld.all || of.held >= maxHeld.client) return Effect.succeed(state)
    return Effect.acquireUseRelease(
      Effect.sync(() => {
        held++
        of.held++
      }),
      () =>
        resolutions.settled(mapping.id).pipe(
          Effect.timeoutOption(familyMs),
          Effect.andThen(resolutions.find(mapping.client, mapping.resources[0]!, mapping.name.domain)),
          Effect.map((known) => known?.state ?? state)
        ),
      () =>
        Effect.sync(() => {
          held--
          of.held--
        })
    )
  }

  /** @param grants at least one, those that cover the name, the most specific first */
  return Effect.fnUntraced(function* (
    of: NamesOfClient,
    grants: ReadonlyArray<DnsGrant>,
    { domain, family }: { readonly domain: string; readonly family: 4 | 6 },
    now: number
  ): Effect.fn.Return<TunnelAnswer> {
    const [{ client, resource, expiresAt }, ...others] = grants as readonly [DnsGrant, ...ReadonlyArray<DnsGrant>]
    const entry = yield* of.turn.withPermit(stored.entryOf(of, resource.id, domain, now))
    if (entry === undefined) return { _tag: "ServerFailure" }
    const monotonic = yield* monotonicMillis
    const { proxyIps } = entry
    // Before the name is the client's, so that it is told once by what it is covered.
    for (const other of others) yield* Effect.ignore(acceptor.accept({ ...other, name: null, credentials: null }))
    return yield* acceptor.accept({ client, resource, expiresAt, name: { domain, proxyIps }, credentials: null }).pipe(
      Effect.flatMap(({ mapping }) => (mapping === null ? Effect.undefined : familyKnown(of, family, mapping))),
      Effect.match({
        onSuccess: (state): TunnelAnswer =>
          state === undefined
            ? { _tag: "ServerFailure" }
            : tunnelAnswerOf(state, family, proxyIps, monotonic, { ...ways, some: ways.some() }),
        onFailure: (): TunnelAnswer => ({ _tag: "NameError", ttl: 5 })
      })
    )
  })
})
