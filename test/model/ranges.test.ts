import { assert, describe, it } from "@effect/vitest"
import { parseAddress } from "../../src/packet/address.ts"
import { defaultRanges } from "../../src/model/defaultRanges.ts"
import { proxyMembership } from "../../src/model/ranges.ts"

describe("ranges", () => {
  const membership = proxyMembership([defaultRanges.proxy4, defaultRanges.proxy6])
  const isProxy = (text: string) => membership(parseAddress(text)!)

  it("admits exactly the proxy ranges without the clients' own DNS servers", () => {
    for (const yes of ["100.96.0.0", "100.127.255.255", "100.100.110.255", "100.100.112.0", "fd00:2021:1111:8000::1"]) {
      assert.isTrue(isProxy(yes), yes)
    }
    const no = [
      "100.95.255.255",
      "100.128.0.0",
      "100.100.111.0",
      "100.100.111.255",
      "fd00:2021:1111:8000:100:100:111:0",
      "fd00:2021:1111:8000:100:100:111:ff",
      "fd00:2021:1111::1",
      "fd00:2021:1111:8000::20:0:0",
      "::ffff:10.0.0.1",
      "10.0.0.1"
    ]
    for (const address of no) assert.isFalse(isProxy(address), address)
  })

  it("admits a mapped IPv4 text only as the IPv4 address that it is", () => {
    assert.isTrue(isProxy("::ffff:100.96.0.1"))
    assert.isFalse(proxyMembership([defaultRanges.proxy6])(parseAddress("::ffff:100.96.0.1")!))
  })
})
