/** Keys and time stamps as text, both ways, without a runtime's helpers. */

/** Standard base64 of exactly `length` bytes; `undefined` when it is anything else. */
export const fromBase64 = (text: string, length: number): Uint8Array | undefined => {
  if (!/^[A-Za-z0-9+/]*={0,2}$/.test(text) || text.length % 4 !== 0) return undefined
  const bytes = new Uint8Array(length)
  let bits = 0
  let held = 0
  let at = 0
  for (const c of text.replace(/=+$/, "")) {
    bits = (bits << 6) | alphabet.indexOf(c)
    held += 6
    if (held >= 8) {
      held -= 8
      if (at === length) return undefined
      bytes[at++] = bits >>> held
      bits &= (1 << held) - 1
    }
  }
  return at === length ? bytes : undefined
}

/** The one text of those bytes: the last digit of the others has bits that mean nothing. */
export const canonicalBase64 = (text: string, length: number): string | undefined => {
  if (fromBase64(text, length) === undefined) return undefined
  const digits = text.replace(/=+$/, "")
  const unused = (digits.length * 6) % 8
  const last = alphabet[(alphabet.indexOf(digits.at(-1)!) >> unused) << unused]!
  return digits.slice(0, -1) + last + text.slice(digits.length)
}

export const toBase64 = (bytes: Uint8Array): string => {
  let text = ""
  for (let at = 0; at < bytes.length; at += 3) {
    const three = (bytes[at]! << 16) | ((bytes[at + 1] ?? 0) << 8) | (bytes[at + 2] ?? 0)
    for (let digit = 0; digit < 4; digit++) {
      text += at + digit > bytes.length ? "=" : alphabet[(three >> (18 - digit * 6)) & 63]!
    }
  }
  return text
}

export const toHex = (bytes: Uint8Array): string => {
  let text = ""
  for (const b of bytes) text += b.toString(16).padStart(2, "0")
  return text
}

/** Hex digits of exactly `length` bytes; `undefined` when it is anything else. */
export const fromHex = (text: string, length: number): Uint8Array | undefined => {
  if (text.length !== length * 2 || !/^[0-9a-fA-F]*$/.test(text)) return undefined
  return Uint8Array.from({ length }, (_, i) => Number.parseInt(text.slice(i * 2, i * 2 + 2), 16))
}

const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
