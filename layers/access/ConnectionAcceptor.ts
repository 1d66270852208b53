import { randomBytesUnsafe } from "effect/crypto/SecureRandom"
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { Authorizations } from "../../src/access/Authorizations.ts"
import { type CheckedName, checkRequest } from "../../src/access/checkRequest.ts"
import { Clients } from "../../src/access/Clients.ts"
import { type AccessReply, ConnectionAcceptor } from "../../src/access/ConnectionAcceptor.ts"
import { ExpiryClock } from "../../src/access/ExpiryClock.ts"
import { iceCredentials, passwordLength, usernameLength } from "../../src/access/iceCredentials.ts"
import { ProxyRanges } from "../../src/access/ProxyRanges.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import { monotonicMillis } from "../../src/loops/monotonic.ts"
import { whereHeard } from "../../src/loops/whereHeard.ts"
import { acceptTook } from "../../src/monitor/durations.ts"
import { AccessRefused, type AccessRequest } from "../../src/model/AccessRequest.ts"
import { inOneTurn } from "../../src/resolution/inOneTurn.ts"
import type { ClientId } from "../../src/model/Client.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

/** How many names one client may have mapped at a time. */
const maxMappingsPerClient = 4_096

const withSpan = Effect.withSpan("ConnectionAcceptor.accept", { kind: "server" }, { captureStackTrace: false })

interface Checked {
  readonly name: CheckedName | null
  readonly restarted: boolean
}

export const layer: Layer.Layer<ConnectionAcceptor, never, Authorizations | Clients | ProxyRanges | Resolutions> =
  Layer.effect(
    ConnectionAcceptor,
    Effect.gen(function* () {
      const authorizations = yield* Authorizations
      const clients = yield* Clients
      const resolutions = yield* Resolutions
      const isProxy = yield* ProxyRanges
      const today = yield* ExpiryClock
      const events = yield* EventLog

      const check = Effect.fnUntraced(function* (request: AccessRequest) {
        const name = checkRequest(request, yield* today, isProxy)
        if (name instanceof AccessRefused) return yield* name
        if (name === null) return { name, restarted: false }
        const client = request.client.id
        const resource = request.resource.id
        const restarted = request.name?.ownNumbers === true && (yield* isRenumbered(client, name))
        const full =
          name.proxyIps.length > 0 && !restarted && (yield* resolutions.count(client)) >= maxMappingsPerClient
        if (full && (yield* resolutions.find(client, resource, name.domain)) === undefined) {
          return yield* new AccessRefused({ reason: "TooManyMappings", client, resource, domain: name.domain })
        }
        return { name, restarted }
      })

      const isRenumbered = Effect.fnUntraced(function* (client: ClientId, { domain, proxyIps }: CheckedName) {
        for (const proxyIp of proxyIps) {
          const owner = yield* resolutions.ownerOf(client, proxyIp)
          if (owner !== undefined && owner.name.domain !== domain) return true
        }
        return false
      })

      /** Names are asked for again and again. */
      const isNews = Effect.fnUntraced(function* ({ client, resource }: AccessRequest, { name }: Checked) {
        if (name === null) return (yield* authorizations.find(client.id, resource.id)) === undefined
        return (yield* resolutions.find(client.id, resource.id, name.domain)) === undefined
      })

      const grant = Effect.fnUntraced(function* (request: AccessRequest, { name, restarted }: Checked) {
        const { client, resource, expiresAt } = request
        if (restarted) yield* resolutions.releaseWhere(client.id, null)
        const draw = () => iceCredentials(randomBytesUnsafe(usernameLength + passwordLength))
        const { credentials: local, remoteCredentials: remote } = request
        if (remote === undefined) yield* clients.upsert(client)
        let ours = remote === undefined ? local : yield* clients.connect({ client, remote, local, draw })
        yield* authorizations.record({ client, resource, expiresAt })
        const mapping =
          name === null
            ? null
            : yield* resolutions.subscribe({
                ...name,
                client: client.id,
                cause: "ClientAsked",
                ownNumbers: request.name?.ownNumbers === true
              })
        return {
          // Drawn for who reads them: a DNS question, say, opens no path.
          get credentials() {
            return (ours ??= draw())
          },
          mapping,
          restarted
        } satisfies AccessReply
      })

      const accept = Effect.fnUntraced(
        function* (request: AccessRequest) {
          const { client, resource, name } = request
          const began = yield* monotonicMillis
          const end = Effect.fnUntraced(function* (outcome: string) {
            yield* acceptTook(outcome, (yield* monotonicMillis) - began)
            yield* Effect.annotateCurrentSpan({ outcome })
          })
          yield* Effect.annotateCurrentSpan({ client: client.id, resource: resource.id, domain: name?.domain ?? null })
          const what = { client: client.id, resource: resource.id, domain: name?.domain ?? null }
          const checked = yield* Effect.tapError(check(request), ({ reason }) =>
            Effect.andThen(end(reason), events.record({ _tag: "Denied", ...what, reason }))
          )
          if (yield* isNews(request, checked)) yield* events.record({ _tag: "Accepted", ...what })
          const reply = yield* grant(request, checked)
          yield* end(reply.mapping?.state._tag ?? "Accepted")
          return reply
        },
        (accepted) => whereHeard(accepted, withSpan),
        inOneTurn
      )

      return ConnectionAcceptor.of({ accept })
    })
  )
