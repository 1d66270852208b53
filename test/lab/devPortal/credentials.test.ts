import * as Crypto from "node:crypto"
import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import {
  deriveIceCredentials,
  derivePresharedKey,
  deriveTurnCredentials
} from "../../../src/lab/devPortal/credentials.ts"
import { hostNumbers, preferredHost, tunnelAddresses, uuidOf } from "../../../src/lab/devPortal/identity.ts"
import { key } from "../../config/fixtures.ts"

const client = { id: "7a6a8bfe-1111-4000-8000-000000000001", publicKey: key(1), pskBase: new Uint8Array(32).fill(7) }
const gateway = { id: "7a6a8bfe-2222-4000-8000-000000000002", publicKey: key(2), pskBase: new Uint8Array(32).fill(9) }

/** Base32 by way of bits as text, to have another way than the code's. */
const base32ByBits = (bytes: Uint8Array) => {
  const bits = [...bytes].map((byte) => byte.toString(2).padStart(8, "0")).join("")
  return (bits.match(/.{1,5}/g) ?? [])
    .map((five) => "abcdefghijklmnopqrstuvwxyz234567"[Number.parseInt(five.padEnd(5, "0"), 2)])
    .join("")
}

describe("credentials that the portal derives", () => {
  it("are slices of one base32 text for ICE", () => {
    const digest = Crypto.createHash("sha256")
      .update(`${client.id}:${client.publicKey}:${gateway.id}:${gateway.publicKey}`)
      .digest()
    const text = base32ByBits(digest)
    assert.strictEqual(text.length, 52)
    assert.deepStrictEqual(deriveIceCredentials(client, gateway), {
      client: { username: text.slice(0, 4), password: text.slice(4, 26) },
      gateway: { username: text.slice(26, 30), password: text.slice(30) }
    })
  })

  it("are one round of PBKDF2 over both bases for the preshared key", () => {
    const salt = `WG_PSK|C_ID:${client.id}|G_ID:${gateway.id}|C_PK:${client.publicKey}|G_PK:${gateway.publicKey}`
    const expected = Crypto.pbkdf2Sync(Buffer.concat([client.pskBase, gateway.pskBase]), salt, 1, 32, "sha256")
    assert.strictEqual(derivePresharedKey(client, gateway), expected.toString("base64"))
  })

  it("change with either key", () => {
    const other = { ...gateway, publicKey: key(3) }
    assert.notDeepEqual(deriveIceCredentials(client, other), deriveIceCredentials(client, gateway))
    assert.notStrictEqual(derivePresharedKey(client, other), derivePresharedKey(client, gateway))
  })

  it("are the username's HMAC for a TURN server with a shared secret", () => {
    const password = Crypto.createHmac("sha1", "north").update("1800000000:someone").digest("base64")
    assert.deepStrictEqual(deriveTurnCredentials("north", 1_800_000_000, "someone"), {
      username: "1800000000:someone",
      password
    })
  })
})

describe("ids and addresses of the portal", () => {
  it.prop("are UUIDs and hosts of the tunnel ranges for any name", [Schema.String], ([name]) => {
    assert.match(uuidOf("client", name), /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
    const host = preferredHost(uuidOf("client", name))
    assert.isTrue(host >= 1 && host <= hostNumbers - 2)
    const [a, b] = tunnelAddresses(host).ipv4.split(".").map(Number)
    assert.isTrue(a === 100 && b! >= 64 && b! < 96)
  })

  it("count through both ranges in step", () => {
    assert.deepStrictEqual(tunnelAddresses(1), { ipv4: "100.64.0.1", ipv6: "fd00:2021:1111::1" })
    assert.deepStrictEqual(tunnelAddresses(hostNumbers - 2), {
      ipv4: "100.95.255.254",
      ipv6: "fd00:2021:1111::1f:fffe"
    })
  })
})
