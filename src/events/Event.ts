/** What happened at the gateway, in the words of `sallyport log`. Texts from the network are as they came: see `printable`. */
import * as Schema from "effect/Schema"

const Count = Schema.Finite

/** Where a packet or a flow went, as the client sees it. */
const to = {
  /** The name that the address stands for. */
  domain: Schema.NullOr(Schema.String),
  resource: Schema.NullOr(Schema.String),
  address: Schema.String,
  /** `tcp`, `udp`, `icmp`, or the number. */
  protocol: Schema.String,
  port: Count
}

const Refused = Schema.TaggedStruct("Refused", {
  client: Schema.String,
  packets: Count,
  /** As the counter `outbound.…`; `null`, with `to`: further packets, of more kinds than are told apart. */
  reason: Schema.NullOr(Schema.String),
  to: Schema.NullOr(Schema.Struct(to))
})

const flow = {
  client: Schema.String,
  to: Schema.Struct(to),
  /** The real address, if it is another. */
  real: Schema.NullOr(Schema.String),
  /** What had come back when this was told. 0 of a flow that began: nothing within 3 s. */
  bytesIn: Count
}

const FlowOpened = Schema.TaggedStruct("FlowOpened", flow)

const FlowClosed = Schema.TaggedStruct("FlowClosed", {
  ...flow,
  why: Schema.String,
  bytesOut: Count,
  durationMs: Count
})

/** Flows that began or ended and did not fit. */
const FlowsUntold = Schema.TaggedStruct("FlowsUntold", { flows: Count })

const Question = Schema.TaggedStruct("Question", {
  client: Schema.NullOr(Schema.String),
  domain: Schema.String,
  type: Count,
  outcome: Schema.String
})

const Lookup = Schema.TaggedStruct("Lookup", {
  client: Schema.String,
  resolver: Schema.String,
  domain: Schema.String,
  cause: Schema.String,
  /** `answer`, or why there is none. */
  outcome: Schema.String,
  addresses: Schema.Array(Schema.String),
  durationMs: Count
})

const ClientConnected = Schema.TaggedStruct("ClientConnected", {
  client: Schema.String,
  endpoint: Schema.NullOr(Schema.String)
})

const ClientSilent = Schema.TaggedStruct("ClientSilent", { client: Schema.String })

const UnknownDevice = Schema.TaggedStruct("UnknownDevice", {
  publicKey: Schema.String,
  endpoint: Schema.String,
  handshakes: Count
})

const access = { client: Schema.String, resource: Schema.String, domain: Schema.NullOr(Schema.String) }

const Accepted = Schema.TaggedStruct("Accepted", access)

const Denied = Schema.TaggedStruct("Denied", { ...access, reason: Schema.String })
const Expired = Schema.TaggedStruct("Expired", { client: Schema.String, resource: Schema.String })
const Revoked = Schema.TaggedStruct("Revoked", { client: Schema.String, resource: Schema.String })
const Reloaded = Schema.TaggedStruct("Reloaded", { what: Schema.String })
const KeysChanged = Schema.TaggedStruct("KeysChanged", { what: Schema.String })

export const Event = Schema.Union([
  Refused,
  FlowOpened,
  FlowClosed,
  FlowsUntold,
  Question,
  Lookup,
  ClientConnected,
  ClientSilent,
  UnknownDevice,
  Accepted,
  Denied,
  Expired,
  Revoked,
  Reloaded,
  KeysChanged
])
export type Event = typeof Event.Type

/** An event as it is kept: `number` grows with each. */
export const LoggedEvent = Schema.Struct({
  number: Count,
  /** Epoch milliseconds; of several alike of the last. */
  at: Count,
  event: Event
})
export type LoggedEvent = typeof LoggedEvent.Type

/** Each kind has room of its own, so that none drowns another. */
export const eventKinds = ["refused", "flows", "dns", "lookups", "strangers", "audit"] as const
export type EventKind = (typeof eventKinds)[number]

export const kindOf = (event: Event): EventKind => {
  switch (event._tag) {
    case "Refused":
      return "refused"
    case "FlowOpened":
    case "FlowClosed":
    case "FlowsUntold":
      return "flows"
    case "Question":
      return "dns"
    case "Lookup":
      return "lookups"
    case "UnknownDevice":
      return "strangers"
    default:
      return "audit"
  }
}

/** Whom it is about; `null`: nobody in particular, or who is no client. */
export const clientOf = (event: Event): string | null => ("client" in event ? event.client : null)
