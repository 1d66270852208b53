import { blake2s } from "@noble/hashes/blake2.js"
import { labelMac1 } from "../../src/wireguard/noise.ts"
import { gatewayPublicKey, primitives } from "../support/engineWorld.ts"

const key = primitives.blake2s(labelMac1, gatewayPublicKey)

/** The first MAC of a handshake message over the bytes before `end`: who knows the gateway's public key can make it. */
export const macOf = (message: Uint8Array, end: number): Uint8Array =>
  blake2s(message.subarray(0, end), { key, dkLen: 16 })
