import { printable } from "./printable.ts"
import type { Event } from "./Event.ts"

type Of<Tag extends Event["_tag"]> = Extract<Event, { _tag: Tag }>

/** An event in one line for people, with what to do where something can be done. */
export const describeEvent = (event: Event): string => printable(textOf(event))

const textOf = (event: Event): string => {
  switch (event._tag) {
    case "Refused":
      return event.to === null
        ? `refused ${event.client}: ${event.packets} more packets, of more kinds than are told apart`
        : `refused ${event.client} → ${placeOf(event.to)}: ${refusalOf(event.reason ?? "")} (${packets(event.packets)})`
    case "FlowOpened":
      return `flow opened ${event.client} → ${placeOf(event.to)}${behind(event.real)}`
    case "FlowClosed":
      return `flow ${event.why} ${event.client} → ${placeOf(event.to)}${behind(event.real)}: ${event.bytesOut} bytes out, ${event.bytesIn} in, ${(event.durationMs / 1_000).toFixed(1)} s`
    case "FlowsUntold":
      return `and ${event.flows} flows that began or ended, too many to be told one by one`
    case "Question":
      return `asked ${event.client ?? "?"}: ${event.domain} type ${event.type}: ${event.outcome}`
    case "Lookup":
      return `looked up ${event.domain} at ${event.resolver} (${event.cause}, for ${event.client}): ${event.addresses.join(" ") || event.outcome}, ${event.durationMs} ms`
    case "ClientConnected":
      return `client ${event.client} connected${event.endpoint === null ? "" : ` from ${event.endpoint}`}`
    case "ClientSilent":
      return `client ${event.client} is silent`
    case "UnknownDevice":
      return `unknown device ${event.publicKey} from ${event.endpoint}, ${event.handshakes} handshakes; to let it in: sallyport client add NAME --public-key ${event.publicKey}`
    case "Accepted":
      return `accepted ${granted(event)}`
    case "Denied":
      return `denied ${granted(event)}: ${event.reason}`
    case "Expired":
      return `expired ${event.client} → ${event.resource}`
    case "Revoked":
      return `revoked ${event.client} → ${event.resource}`
    case "Reloaded":
      return `reloaded: ${event.what}`
    case "KeysChanged":
      return event.what
  }
}

const granted = ({ client, domain, resource }: Omit<Of<"Accepted">, "_tag">): string =>
  `${client} → ${resource}${domain === null ? "" : ` (${domain})`}`

/** Where a packet went, as the client sees it. */
export const placeOf = ({ address, domain, port, protocol, resource }: NonNullable<Of<"Refused">["to"]>): string => {
  const where = domain === null ? address : `${domain} (${address})`
  const ports = port === 0 ? protocol : `${protocol}/${port}`
  return `${where} ${ports}${resource === null ? "" : ` of ${resource}`}`
}

const behind = (real: string | null): string => (real === null ? "" : ` at ${real}`)

const packets = (count: number): string => (count === 1 ? "1 packet" : `${count} packets`)

/** Why a packet was refused, by the counter's name. */
export const refusalOf = (reason: string): string => reasons[reason] ?? reason

const reasons: Readonly<Record<string, string>> = {
  source_spoofed: "its source is not the client's tunnel address",
  tunnel_address: "other clients and the tunnel's own addresses are never reached",
  gateway_service_denied: "the gateway itself answers DNS and ping only",
  gateway_rate_limited: "more packets, or unanswered questions, for the gateway itself than it takes of one client",
  unauthorized: "no resource that the client may reach has this address",
  filtered: "the resource's ports do not let it through",
  unmapped: "the address stands for no name at this client",
  unresolved: "the name has no usable address",
  destination_refused: "the destination policy forbids this address",
  untranslatable: "this protocol cannot be translated for a name",
  parking_full: "too many packets wait for the name's first lookup",
  ports_exhausted: "no port is left for another flow there",
  sessions_limited: "the client opens too many flows"
}
