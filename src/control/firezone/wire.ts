/**
 * The shapes of the portal's JSON (docs/portal-protocol.md, "Messages to the gateway"), every text and list bounded.
 * Unknown keys are tolerated everywhere; what is not here is never read.
 */
import * as Schema from "effect/Schema"
import { parseAddress } from "../../packet/address.ts"
import { parseHostPort } from "./hostPort.ts"

/** Authorizations in one `init`. A gateway's clients × resources; at 150 bytes each still within `maxFrame`. */
export const maxAuthorizations = 50_000
/** Bytes of one frame from the portal: the largest `init`. Everything else is far below 64 KiB. */
export const maxFrame = 8 * 1024 * 1024

export const text = (max: number) => Schema.String.check(Schema.isMaxLength(max))
const textWhere = (max: number, test: (value: string) => boolean) =>
  text(max).check(Schema.makeFilter((value: string) => value.length <= max && test(value)))
export const list = <S extends Schema.Constraint>(item: S, max: number) =>
  Schema.Array(item).check(Schema.isMaxLength(max))
/** Absent, `null` or a value. */
export const maybe = <S extends Schema.Constraint>(schema: S) => Schema.optionalKey(Schema.NullOr(schema))

export const Uuid = textWhere(36, (value) => /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(value))
/** A signed reference of the portal, carried back unchanged. */
const Ref = text(8_192)
export const Key = textWhere(44, (value) => /^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/.test(value))
export const Ipv4 = textWhere(15, (value) => !value.includes(":") && parseAddress(value) !== undefined)
export const Ipv6 = textWhere(45, (value) => value.includes(":") && parseAddress(value) !== undefined)
/** Unix seconds. */
const Instant = Schema.Finite.check(
  Schema.makeFilter((value: number) => value >= 0 && value <= Number.MAX_SAFE_INTEGER / 1_000)
)
const Domain = text(255)
const Port = Schema.Int.check(Schema.makeFilter((value: number) => value >= 0 && value <= 65_535))

/** ICE characters and whatever else is printable; a colon would take a STUN username apart. */
export const Ice = Schema.Struct({
  username: textWhere(256, (value) => /^[!-9;-~]+$/.test(value)),
  password: textWhere(256, (value) => /^[!-~]+$/.test(value))
})

export const TurnRelay = Schema.Struct({
  type: Schema.Literal("turn"),
  id: Uuid,
  addr: textWhere(53, (value) => parseHostPort(value) !== undefined),
  username: text(512),
  password: text(512)
})

/** Each one is read by itself: a relay of a kind unknown here must not cost the others. */
export const Relays = list(Schema.Unknown, 256)

const Filter = Schema.Union([
  Schema.Struct({
    protocol: Schema.Literals(["tcp", "udp"]),
    port_range_start: maybe(Port),
    port_range_end: maybe(Port)
  }),
  Schema.Struct({ protocol: Schema.Literal("icmp") })
])
const Filters = maybe(list(Filter, 1_024))

export const Resource = Schema.Union([
  Schema.Struct({ type: Schema.Literal("dns"), id: Uuid, address: text(1_024), filters: Filters }),
  Schema.Struct({ type: Schema.Literal("cidr"), id: Uuid, address: text(49), filters: Filters }),
  Schema.Struct({ type: Schema.Literal("internet"), id: Uuid, filters: Filters })
])

/** A text is a question for the addresses (clients up to 1.0); an object brings proxy IPs. */
const DomainRequest = Schema.Union([Domain, Schema.Struct({ name: Domain, proxy_ips: list(text(45), 256) })])

const Authorization = Schema.Struct({ client_id: Uuid, resource_id: Uuid, expires_at: Schema.NullOr(Instant) })

export const Init = Schema.Struct({
  interface: Schema.Struct({ ipv4: Ipv4, ipv6: Ipv6 }),
  relays: maybe(Relays),
  authorizations: maybe(list(Authorization, maxAuthorizations))
})

export const RelaysPresence = Schema.Struct({ disconnected_ids: list(Uuid, 1_024), connected: Relays })

export const RequestConnection = Schema.Struct({
  ref: Ref,
  resource: Resource,
  client: Schema.Struct({
    id: Uuid,
    peer: Schema.Struct({ public_key: Key, preshared_key: Key, ipv4: Ipv4, ipv6: Ipv6 }),
    payload: Schema.Struct({ ice_parameters: Ice, domain: maybe(DomainRequest) })
  }),
  expires_at: maybe(Instant),
  relays: maybe(Relays)
})

export const AllowAccess = Schema.Struct({
  ref: Ref,
  client_id: Uuid,
  resource: Resource,
  payload: maybe(DomainRequest),
  expires_at: maybe(Instant)
})

/** `authorize_flow` and, renamed, `create_authorization`. */
export const AuthorizeFlow = Schema.Struct({
  ref: Ref,
  resource: Resource,
  client: Schema.Struct({ id: Uuid, public_key: Key, preshared_key: Key, ipv4: Ipv4, ipv6: Ipv6 }),
  client_ice_credentials: Ice,
  gateway_ice_credentials: Ice,
  expires_at: maybe(Instant)
})

export const Candidates = Schema.Struct({ client_id: Uuid, candidates: list(Schema.Unknown, 256) })
/** Printable; what it says is read by the packet worker. */
export const Candidate = textWhere(512, (value) => /^[ -~]+$/.test(value))

export const RejectAccess = Schema.Struct({ client_id: Uuid, resource_id: Uuid })

export const ExpiryUpdated = Schema.Struct({ client_id: Uuid, resource_id: Uuid, expires_at: Schema.NullOr(Instant) })

export const Disconnect = Schema.Struct({ reason: text(256) })

/** What a client writes into the tunnel. */
export const AssignedIps = Schema.Struct({ resource: Uuid, domain: Domain, proxy_ips: list(text(45), 64) })
