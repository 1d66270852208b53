import { assert, describe, it } from "@effect/vitest"
import { isTaken, listenersOf } from "../../src/host/listeners.ts"

describe("listenersOf", () => {
  it("reads TCP listeners and unconnected UDP sockets of both families, nothing else", () => {
    const table = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1
   1: 0100007F:C350 0100007F:1F90 01 00000000:00000000 00:00000000 00000000     0        0 2 1
  12: 00000000000000000000000000000000:CA6C 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000
  13: B80D0120000000000000000007000000:0035 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000
  14: 0000000000000000FFFF0000010200C0:0050 00000000000000000000000000000000:0000 0A 00000000:00000000 00:00000000
`
    assert.deepStrictEqual(listenersOf(table), [
      { address: "127.0.0.1", port: 8080 },
      { address: "::", port: 51_820 },
      { address: "2001:db8::7", port: 53 },
      { address: "192.0.2.1", port: 80 }
    ])
    assert.deepStrictEqual(listenersOf(""), [])
  })
})

describe("isTaken", () => {
  it("goes by address and port: the same one, or all of them on either side", () => {
    const taken = (address: string, host: string, port = 9820) => isTaken([{ address, port: 9820 }], { host, port })

    assert.isTrue(taken("127.0.0.1", "127.0.0.1"))
    assert.isFalse(taken("127.0.0.1", "127.0.0.1", 9821))
    assert.isFalse(taken("192.0.2.1", "127.0.0.1"))
    assert.isFalse(taken("::1", "127.0.0.1"))
    for (const wide of ["0.0.0.0", "::"]) {
      assert.isTrue(taken(wide, "127.0.0.1"), wide)
      assert.isTrue(taken("127.0.0.1", wide), wide)
    }
    assert.isFalse(taken("0.0.0.0", "::1"))
    assert.isTrue(taken("::", "::1"))
    assert.isTrue(taken("192.0.2.1", "gateway.example"))
  })
})
