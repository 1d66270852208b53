/** The request that opens the portal's WebSocket (docs/portal-protocol.md, "Connecting"). */
import { sha256 } from "@noble/hashes/sha2.js"
import * as Hex from "effect/encoding/Hex"
import * as Result from "effect/Result"

export interface HandshakeRequest {
  /** Absent: a gateway. */
  readonly role?: "gateway" | "client"
  /** A base URL: ws, wss, http or https. */
  readonly apiUrl: string
  /** v2 renames messages (generation C). */
  readonly endpoint: "v1" | "v2"
  readonly token: string
  /** Standard base64. */
  readonly publicKey: string
  readonly firezoneId: string
  readonly name: string
  readonly host: HostFacts
  /** As in `1.5.2`. */
  readonly version: string
  /** For portals of 2024: the token in the query, the version where they look for it. */
  readonly legacy: boolean
}

export interface HostFacts {
  /** As in `Linux`. */
  readonly os: string
  readonly osVersion: string
  readonly arch: string
  readonly kernel: string
}

export interface Handshake {
  /** May hold the token: never to be logged. */
  readonly url: string
  readonly headers: Readonly<Record<string, string>>
}

export const handshakeOf = (request: HandshakeRequest): Handshake => {
  const base = readApiUrl(request.apiUrl)
  if (Result.isFailure(base)) throw new TypeError(base.failure)
  const url = new URL(base.success)
  const { endpoint, legacy, role = "gateway" } = request
  const path = endpoint === "v2" ? `${role}/v2/websocket` : `${role}/websocket`
  url.pathname = `${url.pathname.replace(/\/+$/, "")}/${path}`
  const token = request.token.replaceAll(/\s/g, "")
  if (legacy) url.searchParams.set("token", token)
  url.searchParams.set("public_key", request.publicKey)
  url.searchParams.set("external_id", externalId(request.firezoneId))
  url.searchParams.set("name", request.name)
  return {
    url: url.href,
    headers: { "User-Agent": userAgent(request, role), "X-Authorization": `Bearer ${token}` }
  }
}

/** The base URL with a WebSocket scheme, or what is wrong with it. */
export const readApiUrl = (text: string): Result.Result<string, string> => {
  const shown = text.slice(0, 100).replace(/^.*@/, "…@")
  if (!URL.canParse(text)) return Result.fail(`"${shown}" is not a URL`)
  const url = new URL(text)
  const scheme = { "http:": "ws:", "https:": "wss:", "ws:": "ws:", "wss:": "wss:" }[url.protocol]
  if (scheme === undefined) return Result.fail(`the scheme of "${shown}" is none of ws, wss, http, https`)
  if (url.username !== "" || url.password !== "") return Result.fail("credentials do not belong into the URL")
  url.hash = ""
  return Result.succeed(url.href.replace(/^[a-z]+:/, scheme))
}

/** As newer portals read it, or (`legacy`) in the order that those of 2024 want. Only printable ASCII without blanks. */
const userAgent = ({ host, legacy, version }: HandshakeRequest, role: "gateway" | "client"): string => {
  const { os, osVersion, arch, kernel } = host
  const component = legacy ? "connlib" : role === "gateway" ? "gateway" : "headless-client"
  return `${word(os)}/${word(osVersion)} ${component}/${version} (${word(arch)}; ${word(kernel)})`
}

const word = (text: string): string => text.replaceAll(/[^!-~]/g, "").replaceAll(/[()/;]/g, "-") || "unknown"

/** UUIDs are hashed, other ids are sent as they are. */
const externalId = (id: string): string =>
  /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(id) ? Hex.encode(sha256(new TextEncoder().encode(id))) : id
