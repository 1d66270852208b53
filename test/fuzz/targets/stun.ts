/** STUN and TURN messages, half of them with a right header and fingerprint. */
import { parseStun } from "../../../src/ice/stun.ts"
import { fingerprintOf, shortTermKey } from "../../../src/ice/stunIntegrity.ts"
import { StunAttribute, StunMethod } from "../../../src/ice/stunProtocol.ts"
import { StunWriter } from "../../../src/ice/StunWriter.ts"
import { write16, write32 } from "../../../src/packet/bytes.ts"
import type { Target } from "../Target.ts"

const transaction = new Uint8Array(12).fill(9)
const key = shortTermKey("pw")

/** Length, magic cookie and fingerprint as they must be. */
const mended = (input: Uint8Array): Uint8Array => {
  const bytes = input.slice(0, input.length & ~3)
  if (bytes.length < 28) return input
  bytes[0]! &= 0x3f
  write16(bytes, 2, bytes.length - 20)
  write32(bytes, 4, 0x2112_a442)
  const at = bytes.length - 8
  write32(bytes, at, 0x8028_0004)
  write32(bytes, at + 4, fingerprintOf(bytes, at))
  return bytes
}

export const target: Target = {
  seeds: [
    new StunWriter("request", StunMethod.binding, transaction)
      .text(StunAttribute.username, "a:b")
      .number(StunAttribute.priority, 77)
      .flag(StunAttribute.useCandidate)
      .finish(key),
    new StunWriter("success", StunMethod.binding, transaction).finish(key),
    new StunWriter("error", StunMethod.allocate, transaction).error(401, "no").finish()
  ],
  dictionary: Object.values(StunAttribute).map((type) => Uint8Array.of(type >>> 8, type, 0, 4)),
  maxLength: 700,
  lifetime: 1,
  bound: 20,
  start: () => (input) => {
    const message = parseStun((input.at(-1) ?? 0) % 2 === 1 ? mended(input) : input)
    if (message === undefined) return
    message.verify(key)
    message.error()
    message.types()
    for (const type of Object.values(StunAttribute)) {
      message.text(type)
      message.number(type)
      message.address(type)
      message.addresses(type)
      message.has(type)
    }
  }
}
