/** What `WireGuard.receive` made of a datagram: an index into `receiveCodes`. From `Malformed` on it was dropped. */
export const ReceiveCode = {
  /** An inner packet: `peer`, `plainOffset` and `plainLength` describe it. */
  Data: 0,
  /** An authenticated message without payload. */
  Keepalive: 1,
  /** A handshake message now waiting for `workHandshakes`, or an accepted cookie. */
  Handled: 2,
  /** Wrong length, unknown type, or reserved bytes set. */
  Malformed: 3,
  /** No session or handshake has the receiver index. */
  UnknownReceiver: 4,
  /** The sender knows no public key of ours. */
  BadMac1: 5,
  /** Dropped and answered with a cookie reply: the source must prove its address first. */
  CookieSent: 6,
  /** The (proven) source sends too many handshakes, or too many cookie replies were sent already. */
  RateLimited: 7,
  /** The handshake queue is full. */
  QueueFull: 8,
  /** Counter seen before, or older than the replay window. */
  Replayed: 9,
  /** Authentication failed. */
  Forged: 10,
  /** The session is past its time or message limit. */
  SessionExpired: 11,
  /** A handshake message or cookie that was not looked at: this turn had too many. */
  OverBudget: 12
} as const

export const receiveCodes: ReadonlyArray<string> = Object.keys(ReceiveCode)

/** What became of a queued handshake message: an index into `handshakeOutcomes` and `WireGuard.handshakeCounts`. */
export const HandshakeOutcome = {
  /** A valid initiation was answered: a session waits for its first packet. */
  Answered: 0,
  /** A valid response: the session is usable. */
  Completed: 1,
  /** Authentication failed (a wrong preshared key shows here, at the initiator). */
  Forged: 2,
  /** The static key is no peer's. */
  UnknownPeer: 3,
  /** The timestamp is the last accepted one, or the peer started another handshake just now: a replay. */
  Replayed: 4,
  /** Initiations of one peer too close together. */
  TooFast: 5,
  /** The handshake it answers was given up meanwhile, or our key that it was for. */
  GivenUp: 6,
  /** Stamped before the last accepted one, and answered without any other effect: see `Handshakes.answer`. */
  Unproven: 7
} as const

export const handshakeOutcomes: ReadonlyArray<string> = Object.keys(HandshakeOutcome)
