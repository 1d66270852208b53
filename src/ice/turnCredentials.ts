/** Long-term credentials (RFC 8489 §9.2): what we know, and the realm and nonce that the server challenged us with. */
import type { StunMessage } from "./stun.ts"
import { longTermKey } from "./stunIntegrity.ts"
import { StunAttribute } from "./stunProtocol.ts"
import { StunWriter } from "./StunWriter.ts"

/** What RFC 8489 §14.9 and §14.10 allow a REALM or NONCE to have, in bytes. */
const longestText = 763

export class TurnCredentials {
  readonly username: string
  private readonly password: string
  private realm: Uint8Array | undefined
  private nonce: Uint8Array | undefined
  /** `undefined` before the first challenge. */
  key: Uint8Array | undefined

  constructor(username: string, password: string) {
    this.username = username
    this.password = password
  }

  same(username: string, password: string): boolean {
    return this.username === username && this.password === password
  }

  /** Takes REALM and NONCE of a 401 or 438; what it says about the realm and whether it could be used. */
  challenge(answer: StunMessage): "unusable" | "same realm" | "new realm" {
    const nonce = answer.value(StunAttribute.nonce)
    const realm = answer.value(StunAttribute.realm) ?? this.realm
    if (nonce === undefined || realm === undefined || nonce.length > longestText || realm.length > longestText) {
      return "unusable"
    }
    const known = this.realm !== undefined && sameBytes(this.realm, realm)
    this.nonce = nonce.slice()
    if (known) return "same realm"
    this.realm = realm.slice()
    this.key = longTermKey(this.username, this.realm, this.password)
    return "new realm"
  }

  /** Ends the message: with USERNAME, REALM, NONCE and MESSAGE-INTEGRITY once there was a challenge. */
  finish(message: StunWriter): Uint8Array {
    if (this.key === undefined) return message.finish(undefined, false)
    return message
      .text(StunAttribute.username, this.username)
      .value(StunAttribute.realm, this.realm!)
      .value(StunAttribute.nonce, this.nonce!)
      .finish(this.key, false)
  }
}

const sameBytes = (a: Uint8Array, b: Uint8Array): boolean =>
  a.length === b.length && a.every((byte, i) => byte === b[i])
