/** What generation C must be told of flow logs, though this portal takes none (docs/portal-protocol.md, "Flow logs"). */
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 } from "@noble/hashes/sha2.js"
import * as DateTime from "effect/DateTime"
import * as Base64Url from "effect/encoding/Base64Url"
import { farFuture } from "./farFuture.ts"
import { uuidOf } from "./identity.ts"

/** In `init` at v2. No interval: nothing is uploaded. */
export const flowLogs = { api_url: "http://localhost/", upload_interval_secs: 0, upload_batch_size: 0 } as const

/** Flows may be reported for so long after their authorization has ended. */
const graceSeconds = 30 * 86_400
/** The end of the year 9999: times behind it have no text. */
const lastSeconds = 253_402_300_799

/** One end of an authorization, and what for. */
export interface IngestClaims {
  readonly role: "initiator" | "responder"
  readonly device_id: string
  readonly policy_authorization_id: string
  readonly resource_id: string
  readonly resource_name: string
  readonly actor_id: string
  readonly actor_name: string
}

/** A JWT (RFC 7519) by HS256, with every claim that readers insist on. `now` in ms, `expiresAt` in Unix seconds. */
export const ingestToken = (key: Uint8Array, claims: IngestClaims, expiresAt: number | null, now: number): string => {
  const end = Math.min(Math.max(0, expiresAt ?? farFuture), lastSeconds)
  const payload = {
    ...claims,
    account_id: uuidOf("account", "dev"),
    policy_id: uuidOf("policy", claims.resource_id),
    uploads_enabled: false,
    authorized_at: isoTime(now),
    authorization_expires_at: isoTime(end * 1000),
    iat: Math.floor(now / 1000),
    exp: end + graceSeconds
  }
  const signed = [{ alg: "HS256", typ: "JWT" }, payload].map((part) => Base64Url.encode(JSON.stringify(part))).join(".")
  return `${signed}.${Base64Url.encode(hmac(sha256, key, new TextEncoder().encode(signed)))}`
}

const isoTime = (milliseconds: number): string => DateTime.formatIso(DateTime.makeUnsafe(milliseconds))
