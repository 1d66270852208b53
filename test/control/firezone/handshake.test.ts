import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { createHash } from "node:crypto"
import { handshakeOf, type HandshakeRequest, readApiUrl } from "../../../src/control/firezone/handshake.ts"

const host = { os: "Linux", osVersion: "6.1.0", arch: "x86_64", kernel: "6.1.0-13-amd64" }
const request = (over: Partial<HandshakeRequest> = {}): HandshakeRequest => ({
  apiUrl: "wss://api.example.com",
  endpoint: "v1",
  token: "t0k en\n",
  publicKey: `${"A".repeat(42)}+=`.replace("A+", "+A"),
  firezoneId: "my-gateway",
  name: "gw 1/ä",
  host,
  version: "1.5.2",
  legacy: false,
  ...over
})

describe("the request that opens the WebSocket", () => {
  it("carries the token in a header without its whitespace, never in the URL", () => {
    const { headers, url } = handshakeOf(request())
    assert.strictEqual(headers["X-Authorization"], "Bearer t0ken")
    assert.notInclude(url, "t0k")
  })

  it("carries it in the query too for a portal of 2024, which also looks for another version word", () => {
    const { headers, url } = handshakeOf(request({ legacy: true }))
    assert.strictEqual(new URL(url).searchParams.get("token"), "t0ken")
    assert.strictEqual(headers["User-Agent"], "Linux/6.1.0 connlib/1.5.2 (x86_64; 6.1.0-13-amd64)")
  })

  it("has key, id and name in the query, and neither vsn nor join parameters", () => {
    const url = new URL(handshakeOf(request()).url)
    assert.deepStrictEqual([...url.searchParams.keys()].toSorted(), ["external_id", "name", "public_key"])
    assert.strictEqual(url.searchParams.get("public_key"), request().publicKey)
    assert.strictEqual(url.searchParams.get("name"), "gw 1/ä")
    assert.strictEqual(url.searchParams.get("external_id"), "my-gateway")
  })

  it("goes to the v1 or v2 path under any base, with the scheme of a WebSocket", () => {
    const at = (apiUrl: string, endpoint: "v1" | "v2" = "v1") => {
      const url = new URL(handshakeOf(request({ apiUrl, endpoint })).url)
      return `${url.protocol}//${url.host}${url.pathname}`
    }
    assert.strictEqual(at("wss://api.example.com"), "wss://api.example.com/gateway/websocket")
    assert.strictEqual(at("https://api.example.com/"), "wss://api.example.com/gateway/websocket")
    assert.strictEqual(at("http://10.0.0.1:8081/base/"), "ws://10.0.0.1:8081/base/gateway/websocket")
    assert.strictEqual(at("ws://[::1]:80/", "v2"), "ws://[::1]/gateway/v2/websocket")
  })

  it("says what is wrong with a URL", () => {
    for (const text of [
      "",
      "api.example.com",
      "ftp://x",
      "wss://",
      "wss://user:secret@x",
      "ftp://user:secret@x",
      "user:secret@x:"
    ]) {
      const read = readApiUrl(text)
      assert(Result.isFailure(read), text)
      assert.notInclude(read.failure, "secret")
    }
  })

  it("hashes an id that is a UUID", () => {
    const id = "3f2a1b4c-0000-4000-8000-0123456789ab"
    const url = new URL(handshakeOf(request({ firezoneId: id })).url)
    assert.strictEqual(url.searchParams.get("external_id"), createHash("sha256").update(id).digest("hex"))
  })

  it("has a user agent of printable words only, whatever the host is called", () => {
    const odd = { os: "Ünix OS", osVersion: "", arch: "a;b", kernel: "1 (evil)\r\nX: y" }
    assert.strictEqual(
      handshakeOf(request({ host: odd })).headers["User-Agent"],
      "nixOS/unknown gateway/1.5.2 (a-b; 1-evil-X:y)"
    )
  })
})
