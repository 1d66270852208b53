export const hexOf = (value: Uint8Array): string => Buffer.from(value).toString("hex")

/** The bytes `from` to `to` - 1. */
export const range = (from: number, to: number): Uint8Array =>
  Uint8Array.from({ length: to - from }, (_, i) => from + i)

/** WireGuard's nonce, by big integers. */
export const nonceOf = (counter: number): Uint8Array => {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setBigUint64(4, BigInt(counter), true)
  return nonce
}
