import type { Primitives } from "./primitives.ts"

/** HKDF over HMAC-BLAKE2s: `count` outputs of 32 bytes each. */
export const kdf = (p: Primitives, key: Uint8Array, input: Uint8Array, count: 1 | 2 | 3): ReadonlyArray<Uint8Array> => {
  const secret = p.hmacBlake2s(key, input)
  const outputs: Array<Uint8Array> = []
  let last: Uint8Array = none
  for (let i = 1; i <= count; i++) {
    last = p.hmacBlake2s(secret, last, Uint8Array.of(i))
    outputs.push(last)
  }
  secret.fill(0)
  return outputs
}

const none = new Uint8Array(0)
