/** Whether the gateway's own nftables table is as it was made, by a kernel that others change at any moment. */
import { assert, describe, it } from "@effect/vitest"
import { NativeError } from "../../../layers/dataplane/native/nativeError.ts"
import { rememberTable, tableState } from "../../../layers/host/ownTable.ts"
import { hostPlan } from "../../support/hostPlan.ts"

const makeHost = () => {
  let generation = 7
  const host = {
    table: "made" as string | null | NativeError,
    tablesRead: 0,
    /** What others do as soon as the table has been read. */
    meanwhile: () => {},
    own: { plan: hostPlan, table: null as string | null, generation: null as number | null },
    change: (table: string | null): void => {
      generation++
      host.table = table
    },
    look: {
      generation: () => generation,
      table: (): string | null | NativeError => {
        const { meanwhile, table } = host
        host.tablesRead++
        host.meanwhile = () => {}
        meanwhile()
        return table
      }
    }
  }
  return host
}

describe("the gateway's own table", () => {
  it("is right, also after changes elsewhere, and is not read while there are none", () => {
    const host = makeHost()
    rememberTable(host.look, host.own)
    assert.strictEqual(tableState(host.look, host.own), "right")
    assert.strictEqual(host.tablesRead, 1)
    host.change("made")
    assert.strictEqual(tableState(host.look, host.own), "right")
  })

  it("is gone when it was so before it could be remembered", () => {
    const { change, look, own } = makeHost()
    change(null)
    rememberTable(look, own)
    assert.strictEqual(tableState(look, own), "gone")
  })

  for (const [what, table] of [
    ["gone", null],
    ["changed", "another"]
  ] as const) {
    it(`is ${what} when it became so while it was remembered`, () => {
      const host = makeHost()
      host.meanwhile = () => host.change(table)
      rememberTable(host.look, host.own)
      assert.strictEqual(tableState(host.look, host.own), what)
    })
  }

  it("is made once more when it could not be read", () => {
    const host = makeHost()
    host.table = new NativeError("recvfrom", "ENOBUFS", "the host's firewall cannot be read")
    rememberTable(host.look, host.own)
    host.table = "made"
    assert.strictEqual(tableState(host.look, host.own), "changed")
  })
})
