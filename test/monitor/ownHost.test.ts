import { assert, describe, it } from "@effect/vitest"
import { isOwnHost } from "../../src/monitor/ownHost.ts"

describe("isOwnHost", () => {
  it("takes addresses, localhost and the names of this server, with any port", () => {
    for (const host of [
      "127.0.0.1",
      "127.0.0.1:9820",
      "[::1]:9820",
      "[fd00::1]",
      "localhost",
      "LocalHost:1",
      "gw1:80"
    ]) {
      assert.isTrue(isOwnHost(host, ["gw1"]), host)
    }
  })

  it("refuses every other name, which somebody else may lead here, and what is no host", () => {
    for (const host of [
      undefined,
      "",
      "evil.example",
      "localhost.evil.example",
      "127.0.0.1.evil.example",
      "gw1.evil.example",
      "127.0.0.1@evil.example",
      "[::1].evil.example",
      "[zz]",
      "localhost:80:80",
      "localhost/",
      "a, localhost"
    ]) {
      assert.isFalse(isOwnHost(host, ["gw1"]), host)
    }
  })
})
