/** What a portal derives for a pair of devices and for a relay: the same inputs give the same secrets. */
import * as Base64 from "effect/encoding/Base64"
import { hmac } from "@noble/hashes/hmac.js"
import { sha1 } from "@noble/hashes/legacy.js"
import { pbkdf2 } from "@noble/hashes/pbkdf2.js"
import { sha256 } from "@noble/hashes/sha2.js"
import { farFuture } from "./farFuture.ts"
import type { IceCredentials } from "../../model/AccessRequest.ts"

export interface KeyedDevice {
  /** UUID text. */
  readonly id: string
  /** Standard base64. */
  readonly publicKey: string
}

/** Both sides' ICE credentials (docs/portal-protocol.md, "Keys and credentials"): slices of one base32 text. */
export const deriveIceCredentials = (
  client: KeyedDevice,
  gateway: KeyedDevice
): { readonly client: IceCredentials; readonly gateway: IceCredentials } => {
  const text = base32(sha256(utf8(`${client.id}:${client.publicKey}:${gateway.id}:${gateway.publicKey}`)))
  return {
    client: { username: text.slice(0, 4), password: text.slice(4, 26) },
    gateway: { username: text.slice(26, 30), password: text.slice(30, 52) }
  }
}

/** The WireGuard preshared key of a pair, standard base64 of 32 bytes. */
export const derivePresharedKey = (
  client: KeyedDevice & { readonly pskBase: Uint8Array },
  gateway: KeyedDevice & { readonly pskBase: Uint8Array }
): string => {
  const input = new Uint8Array([...client.pskBase, ...gateway.pskBase])
  const salt = `WG_PSK|C_ID:${client.id}|G_ID:${gateway.id}|C_PK:${client.publicKey}|G_PK:${gateway.publicKey}`
  return Base64.encode(pbkdf2(sha256, input, utf8(salt), { c: 1, dkLen: 32 }))
}

/** Credentials that a TURN server with a shared secret checks by itself: `expiry:salt` and its HMAC-SHA1. */
export const deriveTurnCredentials = (secret: string, expiresAt: number, salt: string): IceCredentials => {
  const username = `${expiresAt}:${salt}`
  return { username, password: Base64.encode(hmac(sha1, utf8(secret), utf8(username))) }
}

/**
 * Credentials that a relay which has joined with `secret` checks by itself, for the device with that WireGuard key. Always
 * the same, so that telling a device again changes nothing.
 */
export const deriveStampedCredentials = (
  secret: string,
  publicKey: string
): IceCredentials & { readonly expiresAt: number } => {
  const salt = unpadded(sha256(utf8(publicKey)))
  const password = unpadded(sha256(utf8(`${farFuture}:${secret}:${salt}`)))
  return { username: `${farFuture}:${salt}`, password, expiresAt: farFuture }
}

const unpadded = (bytes: Uint8Array): string => Base64.encode(bytes).replace(/=+$/, "")

/** RFC 4648 §6 in lower case, without padding. */
const base32 = (bytes: Uint8Array): string => {
  let text = ""
  let bits = 0
  let value = 0
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff
    bits += 8
    while (bits >= 5) {
      bits -= 5
      text += alphabet[(value >>> bits) & 31]
    }
  }
  return bits === 0 ? text : text + alphabet[(value << (5 - bits)) & 31]
}

const alphabet = "abcdefghijklmnopqrstuvwxyz234567"

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text)
