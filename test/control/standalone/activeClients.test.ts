import { assert, describe, it } from "vitest"
import { activeClients } from "../../../src/control/standalone/activeClients.ts"

const day = 86_400_000
const end = 1_800_000_000_000
const rows = [
  { client: "now", lastSeenAt: end },
  { client: "lately", lastSeenAt: end - 180_000 },
  { client: "earlier", lastSeenAt: end - 180_001 },
  { client: "never", lastSeenAt: 0 }
]

describe("the clients that a gateway calls when it starts again", () => {
  it.each([0, 60_000, day, 365 * day])("are those of its last three minutes, %s ms later by the clock", (later) => {
    assert.deepStrictEqual([...activeClients(rows, end + later)], ["now", "lately"])
  })

  it("are those heard of since a time that the clock was set back to, too", () => {
    assert.deepStrictEqual([...activeClients(rows, end - 3_600_000)], ["now", "lately", "earlier"])
  })

  it("do not become fewer by one who was heard of when the clock was ahead", () => {
    const ahead = { client: "ahead", lastSeenAt: end + 365 * day }
    assert.deepStrictEqual([...activeClients([...rows, ahead], end)], ["now", "lately", "ahead"])
  })

  it("are none where none was heard of", () => {
    assert.deepStrictEqual([...activeClients([{ client: "never", lastSeenAt: 0 }], end)], [])
  })
})
