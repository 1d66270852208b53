/** Ids and tunnel addresses that are a function of names, so that a restarted portal gives the same ones. */
import { sha256 } from "@noble/hashes/sha2.js"
import { formatAddress, words } from "../../packet/address.ts"

export type IdKind = "site" | "user" | "gateway" | "client" | "resource" | "relay" | "flow" | "account" | "policy"

/** A well-formed UUID for a name. */
export const uuidOf = (kind: IdKind, name: string): string => {
  const bytes = sha256(new TextEncoder().encode(`${kind}:${name}`))
  bytes[6] = (bytes[6]! & 0x0f) | 0x40
  bytes[8] = (bytes[8]! & 0x3f) | 0x80
  const hex = Array.from(bytes.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("")
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-")
}

/** 32 bytes that stand for the device's part of a preshared key. */
export const pskBaseOf = (token: string, id: string): Uint8Array =>
  sha256(new TextEncoder().encode(`psk:${token}:${id}`))

/** Host numbers of 100.64.0.0/11 and fd00:2021:1111::/107; the first and last stay free. */
export const hostNumbers = 2 ** 21

/** Where the search for a device's host number starts. */
export const preferredHost = (id: string): number => {
  const bytes = sha256(new TextEncoder().encode(`address:${id}`))
  return 1 + ((((bytes[0]! << 16) | (bytes[1]! << 8) | bytes[2]!) >>> 0) % (hostNumbers - 2))
}

/** The pair of tunnel addresses with that host number. */
export const tunnelAddresses = (host: number): { readonly ipv4: string; readonly ipv6: string } => ({
  ipv4: formatAddress(words(0, 0, 0xffff, (0x64400000 + host) | 0)),
  ipv6: formatAddress(words(0xfd002021 | 0, 0x11110000, 0, host))
})
