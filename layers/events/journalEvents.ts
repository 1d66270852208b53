/** What the packet worker tells, as events: names in the place of numbers. */
import * as Effect from "effect/Effect"
import * as Layer from "effect/Layer"
import { DataPlane } from "../../src/dataplane/DataPlane.ts"
import type { FlowRow, RefusedRow } from "../../src/dataplane/journal.ts"
import type { ClientState, Journal } from "../../src/dataplane/notices.ts"
import type { Event } from "../../src/events/Event.ts"
import { EventLog } from "../../src/events/EventLog.ts"
import { forEachNotice } from "../../src/loops/forEachNotice.ts"
import type { ClientId } from "../../src/model/Client.ts"
import { stoodFor } from "../../src/model/standIn.ts"
import { formatHostPort } from "../../src/packet/endpoint.ts"
import { protocolIcmp, protocolIcmpv6, protocolTcp, protocolUdp } from "../../src/packet/protocols.ts"
import { Resolutions } from "../../src/resolution/Resolutions.ts"

export const layer: Layer.Layer<never, never, DataPlane | Resolutions> = Layer.effectDiscard(
  Effect.gen(function* () {
    const { record } = yield* EventLog
    const resolutions = yield* Resolutions
    const connected = new Set<ClientId>()

    const destination = Effect.fnUntraced(function* ({ mapping, protocol, resource, ...to }: FlowRow["to"]) {
      const known = mapping === null ? undefined : yield* resolutions.mappingOf(mapping)
      return {
        ...to,
        resource: resource === null ? null : stoodFor(resource),
        domain: known?.name.domain ?? null,
        protocol: protocolNames.get(protocol) ?? String(protocol)
      }
    })

    const refused = Effect.fnUntraced(function* ({ client, packets, reason, to }: RefusedRow) {
      yield* record({ _tag: "Refused", client, packets, reason, to: to === null ? null : yield* destination(to) })
    })

    const flow = Effect.fnUntraced(function* ({ bytesIn, client, end, real, to }: FlowRow) {
      const opened = { bytesIn, client, real, to: yield* destination(to) }
      const event: Event = end === null ? { _tag: "FlowOpened", ...opened } : { _tag: "FlowClosed", ...opened, ...end }
      yield* record(event)
    })

    const tell = Effect.fnUntraced(function* (journal: Journal) {
      yield* Effect.forEach(journal.refused, refused, { discard: true })
      yield* Effect.forEach(journal.flows, flow, { discard: true })
      if (journal.untold.flows > 0) yield* record({ _tag: "FlowsUntold", flows: journal.untold.flows })
      for (const { address, handshakes, port, publicKey } of journal.strangers) {
        yield* record({ _tag: "UnknownDevice", publicKey, endpoint: formatHostPort(address, port), handshakes })
      }
    })

    const meet = ({ client, connected: isConnected, endpoint }: ClientState): Effect.Effect<void> => {
      if (isConnected === connected.has(client)) return Effect.void
      if (isConnected) connected.add(client)
      else connected.delete(client)
      return record(
        isConnected
          ? {
              _tag: "ClientConnected",
              client,
              endpoint: endpoint === null ? null : formatHostPort(endpoint.address, endpoint.port)
            }
          : { _tag: "ClientSilent", client }
      )
    }

    const forget = ({ client }: { readonly client: ClientId }) => Effect.sync(() => void connected.delete(client))

    yield* forEachNotice("EventLog", { Journal: tell, ClientState: meet, ClientRemoved: forget })
  })
)

const protocolNames: ReadonlyMap<number, string> = new Map([
  [protocolTcp, "tcp"],
  [protocolUdp, "udp"],
  [protocolIcmp, "icmp"],
  [protocolIcmpv6, "icmp"]
])
