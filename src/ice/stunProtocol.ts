/** The numbers of STUN (RFC 8489), TURN (RFC 8656) and ICE (RFC 8445 §16.1). */

export const headerLength = 20
export const magicCookie = 0x2112a442
export const transactionLength = 12

export type StunClass = "request" | "indication" | "success" | "error"

export const StunMethod = {
  binding: 0x001,
  allocate: 0x003,
  refresh: 0x004,
  createPermission: 0x008,
  channelBind: 0x009
} as const

/** Attribute types. Below 0x8000 a receiver must understand the attribute. */
export const StunAttribute = {
  mappedAddress: 0x0001,
  username: 0x0006,
  messageIntegrity: 0x0008,
  errorCode: 0x0009,
  channelNumber: 0x000c,
  lifetime: 0x000d,
  xorPeerAddress: 0x0012,
  realm: 0x0014,
  nonce: 0x0015,
  xorRelayedAddress: 0x0016,
  requestedAddressFamily: 0x0017,
  requestedTransport: 0x0019,
  xorMappedAddress: 0x0020,
  priority: 0x0024,
  useCandidate: 0x0025,
  additionalAddressFamily: 0x8000,
  addressErrorCode: 0x8001,
  software: 0x8022,
  fingerprint: 0x8028,
  iceControlled: 0x8029,
  iceControlling: 0x802a
} as const

/** The values of REQUESTED-ADDRESS-FAMILY and ADDITIONAL-ADDRESS-FAMILY, and of address attributes. */
export const AddressFamily = { ipv4: 1, ipv6: 2 } as const
export type AddressFamily = (typeof AddressFamily)[keyof typeof AddressFamily]

/** REQUESTED-TRANSPORT of UDP. */
export const transportUdp = 17
