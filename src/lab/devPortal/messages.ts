/**
 * What gateways and clients send (docs/portal-protocol.md, "Messages from the gateway" and "The client's side").
 * Unknown keys are dropped, sizes bounded.
 */
import * as Schema from "effect/Schema"
import * as SchemaParser from "effect/SchemaParser"

const Word = Schema.String.check(Schema.isMaxLength(256))
const Id = Schema.String.check(Schema.isPattern(/^[0-9a-fA-F-]{36}$/))
const Ids = Schema.Array(Id).check(Schema.isMaxLength(4096))
const Candidates = Schema.Array(Schema.String.check(Schema.isMaxLength(512))).check(Schema.isMaxLength(256))
const Ice = Schema.Struct({ username: Word, password: Word })
const Addresses = Schema.Array(Schema.String.check(Schema.isMaxLength(45))).check(Schema.isMaxLength(16))

/** A name that the client asks about: for an answer (1.0), or with the proxy IPs that stand for it. */
const Domain = Schema.NullOr(Schema.Union([Word, Schema.Struct({ name: Word, proxy_ips: Addresses })]))
const DomainResponse = Schema.optionalKey(
  Schema.NullOr(Schema.Struct({ domain: Word, address: Schema.Array(Word).check(Schema.isMaxLength(64)) }))
)

const decodeWanted = SchemaParser.decodeUnknownResult(
  Schema.Struct({ resource_id: Id, connected_gateway_ids: Schema.optionalKey(Ids) })
)

const decodeCapabilities = SchemaParser.decodeUnknownResult(Schema.Struct({ iceless: Schema.Boolean }))

export const gatewayMessages = {
  connection_ready: SchemaParser.decodeUnknownResult(
    Schema.Struct({
      ref: Word,
      gateway_payload: Schema.Union([
        Schema.Struct({
          ConnectionAccepted: Schema.Struct({ ice_parameters: Ice, domain_response: DomainResponse })
        }),
        Schema.Struct({ ResourceAccepted: Schema.Struct({ domain_response: DomainResponse }) })
      ])
    })
  ),
  flow_authorized: SchemaParser.decodeUnknownResult(Schema.Struct({ ref: Word })),
  candidates: SchemaParser.decodeUnknownResult(Schema.Struct({ client_ids: Ids, candidates: Candidates })),
  set_snownet_capabilities: decodeCapabilities
} as const

/** `phx_join` of a relay. */
export const decodeJoin = SchemaParser.decodeUnknownResult(Schema.Struct({ stamp_secret: Word }))

export const clientMessages = {
  create_flow: decodeWanted,
  prepare_connection: decodeWanted,
  request_connection: SchemaParser.decodeUnknownResult(
    Schema.Struct({
      gateway_id: Id,
      resource_id: Id,
      client_preshared_key: Schema.String.check(Schema.isPattern(/^[A-Za-z0-9+/]{43}=$/)),
      client_payload: Schema.Struct({ ice_parameters: Ice, domain: Schema.optionalKey(Domain) })
    })
  ),
  reuse_connection: SchemaParser.decodeUnknownResult(
    Schema.Struct({ gateway_id: Id, resource_id: Id, payload: Schema.optionalKey(Domain) })
  ),
  candidates: SchemaParser.decodeUnknownResult(Schema.Struct({ gateway_ids: Ids, candidates: Candidates })),
  /** From clients 1.5.7 on. */
  gateway_candidates: SchemaParser.decodeUnknownResult(Schema.Struct({ gateway_id: Id, candidates: Candidates })),
  set_snownet_capabilities: decodeCapabilities,
  /** Of another client's device. */
  request_device_access: SchemaParser.decodeUnknownResult(
    Schema.Struct({ ipv4: Schema.optionalKey(Word), ipv6: Schema.optionalKey(Word) })
  )
} as const
