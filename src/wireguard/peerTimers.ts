/**
 * The timers of one peer (whitepaper §6), as deadlines that packets push around. Nothing here sends: `WireGuard` looks
 * at what is due.
 */
import type { Peer } from "./Peer.ts"
import { keepaliveTimeout, rejectAfterTime, rekeyTimeout } from "./protocol.ts"

const never = Number.POSITIVE_INFINITY

/** The earliest deadline of the peer. */
export const dueAt = (peer: Peer): number =>
  Math.min(peer.retransmitAt, peer.keepaliveAt, peer.handshakeAt, peer.persistentAt, peer.expireAt)

/** Any authenticated message was sent: it serves as keepalive. */
export const messageSent = (peer: Peer, now: number): void => {
  peer.keepaliveAt = never
  peer.wantsKeepalive = false
  messageSeen(peer, now)
}

/** Data was sent: if nothing at all comes back within 15 s, the session is presumed dead. */
export const dataSent = (peer: Peer, now: number): void => {
  if (peer.handshakeAt === never) peer.handshakeAt = now + keepaliveTimeout + rekeyTimeout + peer.jitter
}

/** Any authenticated message was received. */
export const messageReceived = (peer: Peer, now: number): void => {
  peer.handshakeAt = never
  peer.heardAt = now
  messageSeen(peer, now)
}

/** Data was received: it is acknowledged with a keepalive when we have nothing to send for 10 s. */
export const dataReceived = (peer: Peer, now: number): void => {
  if (peer.keepaliveAt === never) peer.keepaliveAt = now + keepaliveTimeout
  else peer.wantsKeepalive = true
}

/** Recomputes when the next key of the peer is too old. */
export const armExpiry = (peer: Peer): void => {
  peer.expireAt = Math.min(
    peer.previous?.createdAt ?? never,
    peer.current?.createdAt ?? never,
    peer.next?.createdAt ?? never,
    peer.unproven?.createdAt ?? never
  )
  peer.expireAt += rejectAfterTime
}

/** Stops everything. */
export const disarm = (peer: Peer): void => {
  peer.retransmitAt = never
  peer.keepaliveAt = never
  peer.handshakeAt = never
  peer.persistentAt = never
  peer.expireAt = never
  peer.wantsKeepalive = false
}

const messageSeen = (peer: Peer, now: number): void => {
  if (peer.keepalive > 0) peer.persistentAt = now + peer.keepalive * 1_000
}
