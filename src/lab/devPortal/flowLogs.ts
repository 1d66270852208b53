/** What generation C must be told of flow logs, though this portal takes none (docs/portal-protocol.md, "Flow logs"). */
import { hmac } from "@noble/hashes/hmac.js"
import { sha256 } from "@noble/hashes/sha2.js"
import * as Base64Url from "effect/encoding/Base64Url"
import { uuidOf } from "./identity.ts"

/** In `init` at v2. */
export const flowLogs = { api_url: "http://localhost/", upload_interval_secs: 3600, upload_batch_size: 1 } as const

/** Flows may be reported for so long after their authorization has ended. */
const graceSeconds = 30 * 86_400

export interface IngestClaims {
  readonly role: "initiator" | "responder"
  readonly device_id: string
  readonly policy_authorization_id: string
  readonly resource_id: string
}

/** A JWT (RFC 7519) by HS256 for one end of an authorization. `now` in milliseconds, `expiresAt` in Unix seconds. */
export const ingestToken = (key: Uint8Array, claims: IngestClaims, expiresAt: number | null, now: number): string => {
  const iat = Math.floor(now / 1000)
  const exp = (expiresAt ?? iat + graceSeconds) + graceSeconds
  const parts = [
    { alg: "HS256", typ: "JWT" },
    { ...claims, account_id: uuidOf("account", "dev"), iat, exp }
  ].map((part) => Base64Url.encode(JSON.stringify(part)))
  const signed = parts.join(".")
  return `${signed}.${Base64Url.encode(hmac(sha256, key, new TextEncoder().encode(signed)))}`
}
