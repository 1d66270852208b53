import type { IceCredentials } from "../model/AccessRequest.ts"

/** RFC 8445 §5.3: at least 24 bits of username fragment and 128 bits of password. */
export const usernameLength = 4
export const passwordLength = 22

/** Makes credentials of 26 random bytes: six bits of each choose an `ice-char` (RFC 8839 §5.4). */
export const iceCredentials = (random: Uint8Array): IceCredentials => {
  const text = Array.from(random, (byte) => iceChars[byte & 63]).join("")
  return {
    username: text.slice(0, usernameLength),
    password: text.slice(usernameLength, usernameLength + passwordLength)
  }
}

const iceChars = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
