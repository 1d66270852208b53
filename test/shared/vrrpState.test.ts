import { assert, describe, it } from "vitest"
import { vrrpStateIn, vrrpStates } from "../../src/shared/vrrpState.ts"

const stateIn = (words: string) => vrrpStateIn(words.split(" "))

describe("vrrpStateIn", () => {
  it("takes a state alone, and what keepalived appends", () => {
    for (const state of vrrpStates) {
      assert.strictEqual(stateIn(state), state)
      assert.strictEqual(stateIn(`INSTANCE VI_1 ${state} 100`), state)
      assert.strictEqual(stateIn(`GROUP clients ${state}`), state)
    }
    // A name may be the word for a state.
    assert.strictEqual(stateIn("INSTANCE MASTER BACKUP 90"), "BACKUP")
  })

  it("takes nothing else", () => {
    for (const words of [
      "",
      "master",
      "MASTER 100",
      "MASTER MASTER",
      "INSTANCE",
      "INSTANCE VI_1",
      "INSTANCE VI_1 MASTER high",
      "INSTANCE VI_1 MASTER 100 MASTER",
      "HOST VI_1 MASTER 100",
      "INSTANCE VI_1 MASTER_RX_LOWER_PRI 100"
    ]) {
      assert.isUndefined(stateIn(words), words)
    }
  })
})
