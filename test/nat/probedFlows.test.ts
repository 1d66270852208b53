import { assert, describe, it } from "@effect/vitest"
import { ProbedFlows } from "../../src/nat/probedFlows.ts"
import { words } from "../../src/packet/address.ts"

const real = words(0, 0, 0xffff, 0x0a140010)

describe("flows that clients were asked about", () => {
  it("are probed once a second, each by itself", () => {
    const flows = new ProbedFlows(1)
    const isTaken = (client: number, ports: number, now: number) => flows.take(client, ports, real, 9, now) >= 0

    assert.isTrue(isTaken(1, 7, 0))
    assert.isFalse(isTaken(1, 7, 999))
    assert.isTrue(isTaken(1, 8, 999))
    assert.isTrue(isTaken(2, 7, 999))
    assert.isTrue(isTaken(1, 7, 1_000))
  })

  it("know the answer of who does not have them, by its number, for 5 s after the last probe", () => {
    const flows = new ProbedFlows(1)
    assert.isFalse(flows.isAnswer(1, 7, real, 9, 0))
    flows.take(1, 7, real, 9, 0)

    assert.isTrue(flows.isAnswer(1, 7, real, 9, 4_999))
    assert.isFalse(flows.isAnswer(1, 7, real, 10, 1))
    assert.isFalse(flows.isAnswer(2, 7, real, 9, 1))
    assert.isFalse(flows.isAnswer(1, 8, real, 9, 1))
    assert.isFalse(flows.isAnswer(1, 7, real, 9, 5_000))
  })

  it("keep their answers however many more there are: who finds no place is not probed", () => {
    const flows = new ProbedFlows(1)
    const taken = Array.from({ length: 50_000 }, (_, ports) => ports).filter(
      (ports) => flows.take(1, ports, real, ports, 0) >= 0
    )

    assert.isAbove(taken.length, 6_000)
    assert.isBelow(taken.length, 8_193)
    for (const ports of taken) assert.isTrue(flows.isAnswer(1, ports, real, ports, 1))
    assert.isAtLeast(flows.take(1, 50_001, real, 9, 5_000), 0)
  })

  it("go with their client", () => {
    const flows = new ProbedFlows(1)
    for (const client of [1, 2]) flows.take(client, 7, real, 9, 0)

    flows.forgetClient(1)

    assert.deepStrictEqual(
      [1, 2].map((client) => flows.isAnswer(client, 7, real, 9, 1)),
      [false, true]
    )
  })
})
