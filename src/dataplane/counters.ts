/**
 * The packet path's counters: plain numbers in shared memory, written by the worker only, read by main. They outlive
 * a worker. WireGuard's and the system's drop reasons follow behind the fixed names.
 */
import { handshakeOutcomes, receiveCodes } from "../wireguard/receiveCode.ts"

const engineCounters = [
  "udp.received",
  "udp.sent",
  "udp.send_failed",
  "tun.received",
  "tun.written",
  "tun.write_failed",
  "tun.joined",
  "tun.segments",
  "udp.batched",
  "udp.gathered",
  "udp.congested",
  "udp.shed",
  "calls.in_answer",
  "calls.by_order",
  "calls.limited",
  "hand_over.sent",
  "hand_over.received",
  "hand_over.refused",
  "hand_over.limited",
  "probes.sent",
  "probes.limited",
  "probes.refused",
  "probes.released",
  "stun.handled",
  "stun.unhandled",
  "ice.early_candidate",
  "ice.bad_candidate",
  "relay.received",
  "relay.answers",
  "relay.unhandled",
  "relay.unknown_channel",
  "relay.sent",
  "relay.no_channel",
  "outbound.forwarded",
  "outbound.bytes",
  "outbound.to_gateway",
  "outbound.malformed",
  "outbound.source_spoofed",
  "outbound.fragment",
  "outbound.multicast",
  "outbound.icmp_error",
  "outbound.echo_reply",
  "outbound.tunnel_address",
  "outbound.gateway_service_denied",
  "outbound.gateway_rate_limited",
  "outbound.unauthorized",
  "outbound.filtered",
  "outbound.unmapped",
  "outbound.unresolved",
  "outbound.destination_refused",
  "outbound.private_dns_refused",
  "outbound.untranslatable",
  "outbound.parked",
  "outbound.parking_full",
  "outbound.ports_exhausted",
  "outbound.sessions_limited",
  "outbound.unanswered",
  "inbound.forwarded",
  "inbound.bytes",
  "inbound.malformed",
  "inbound.fragment",
  "inbound.unknown_client",
  "inbound.looped",
  "inbound.tunnel_source",
  "inbound.from_gateway",
  "inbound.no_session",
  "inbound.icmp_error",
  "inbound.staged",
  "inbound.stage_full",
  "inbound.no_path",
  "control.received",
  "control.sent",
  "control.unsent",
  "control.malformed",
  "control.rate_limited",
  "control.from_device",
  "icmp.sent",
  "icmp.rate_limited",
  "sessions.live",
  "sessions.created",
  "sessions.evicted",
  "sessions.cut",
  "parking.expired",
  "notices.coalesced",
  "notices.limited",
  "worker.turns",
  "worker.real_time",
  "worker.faults"
] as const

export type EngineCounter = (typeof engineCounters)[number]

/** What the system dropped or refused: the worker's `SystemDrops`, in this order. */
export const systemDrops = [
  "sendFull",
  "sendRefused",
  "sendUnreachable",
  "sendTooLong",
  "sendNoSocket",
  "sendOther",
  "sendUnpinned",
  "receiveTruncated",
  "receiveOther",
  "tunWriteFull",
  "tunWriteRefused",
  "tunReadOther",
  "sendUnsegmented",
  "tunWriteUnjoined"
] as const

/** Upper ends of the buckets that turns of the worker are counted in, by their length in microseconds. */
export const turnBounds = [50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000] as const

const snake = (name: string): string => name.replace(/(?<!^)[A-Z]/g, (c) => `_${c}`).toLowerCase()

/** All names, in the order of the shared array. */
const counterNames: ReadonlyArray<string> = [
  ...engineCounters,
  ...receiveCodes.map((code) => `wireguard.${snake(code)}`),
  ...handshakeOutcomes.map((outcome) => `wireguard.handshake_${snake(outcome)}`),
  ...systemDrops.map((drop) => `system.${snake(drop)}`),
  ...turnBounds.map((bound) => `turn.up_to_${bound}_us`),
  "turn.longer",
  // All turns together.
  "turn.us"
]

/** Index of the first receive code of WireGuard; the code is added to it. */
export const receiveBase = engineCounters.length
/** Index of the first handshake outcome. */
export const handshakeBase = receiveBase + receiveCodes.length

/** Index of the first of `systemDrops`. */
export const systemBase = handshakeBase + handshakeOutcomes.length

/** Index of the first of `turnBounds`. */
const turnBase = systemBase + systemDrops.length

export type Counters = Float64Array

export const countTurn = (counters: Counters, microseconds: number): void => {
  let bucket = 0
  while (bucket < turnBounds.length && microseconds > turnBounds[bucket]!) bucket++
  counters[turnBase + bucket]!++
  counters[turnBase + turnBounds.length + 1]! += microseconds
}

export const countersByteLength = counterNames.length * 8

export const readCounters = (counters: Counters): Record<string, number> =>
  Object.fromEntries(counterNames.map((name, i) => [name, counters[i]!]))

/** `counterIndex["udp.received"]`, for a constant of its user: a look-up by name costs a packet more than the count. */
// oxlint-disable-next-line typescript/no-unsafe-type-assertion -- one entry per name, by construction
export const counterIndex = Object.fromEntries(engineCounters.map((name, i) => [name, i])) as Record<
  EngineCounter,
  number
>
