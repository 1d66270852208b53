/** The harness against bugs planted for it. */
import { assert, describe, it } from "@effect/vitest"
import { replay } from "./replay.ts"
import { decodeFinding, encodeFinding } from "./Story.ts"
import { type CampaignOrder, superviseCampaign } from "./superviseCampaign.ts"
import { target as throwing } from "./planted/throws.ts"

const order = (name: string, over: Partial<CampaignOrder> = {}): CampaignOrder => ({
  name,
  module: new URL(`planted/${name}.ts`, import.meta.url).href,
  seed: 1,
  seconds: 2,
  corpus: [],
  ...over
})
const timeout = 60_000

describe("a fuzz campaign", () => {
  it(
    "makes the story of an exception short, and it can be told again from its file",
    async () => {
      const { findings, inputs } = await superviseCampaign(order("throws"))

      assert.isAbove(inputs, 100)
      assert.lengthOf(findings, 1)
      assert.match(findings[0]!.reason, /RangeError: read beyond the end/)
      const again = decodeFinding(encodeFinding(findings[0]!))
      assert.deepStrictEqual(
        again.inputs.map(([first]) => first),
        [0xff, 0x7f]
      )
      assert.match(replay(throwing, again) ?? "", /RangeError/)
    },
    timeout
  )

  it(
    "ends what hangs, and keeps the input",
    async () => {
      const { findings } = await superviseCampaign(order("hangs"), 1_000)

      assert.lengthOf(findings, 1)
      assert.match(findings[0]!.reason, /hangs/)
      assert.include([...findings[0]!.inputs.at(-1)!], 0)
    },
    timeout
  )

  it(
    "tells of an input that takes too long",
    async () => {
      const { findings } = await superviseCampaign(order("crawls"))

      assert.lengthOf(findings, 1)
      assert.match(findings[0]!.reason, /takes \d+ ms, allowed are 10/)
      assert.strictEqual(findings[0]!.inputs[0]![0], 0x2e)
    },
    timeout
  )

  it(
    "tells of memory that does not come back",
    async () => {
      const { findings } = await superviseCampaign(order("grows", { seconds: 4 }))

      assert.lengthOf(findings, 1)
      assert.match(findings[0]!.reason, /holds on to \d+ MiB more/)
    },
    timeout
  )
})
