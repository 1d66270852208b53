import { assert, describe, it } from "@effect/vitest"
import { makeMemory } from "../../../../layers/dataplane/native/memory.ts"
import { makeSchedulingPolicy, thisThread } from "../../../../layers/dataplane/native/schedulingPolicy.ts"

/** A thread of a system that permits everything until told otherwise, and what was asked of it. */
const makeThread = () => {
  const asked: Array<"real-time" | "ordinary"> = []
  let now = 1_000
  let used = 500
  let permits = true
  let realTime = false
  const policy = makeSchedulingPolicy(
    {
      used: () => used,
      setRealTime: (realTime) => {
        asked.push(realTime ? "real-time" : "ordinary")
        return permits
      }
    },
    now
  )
  return {
    asked,
    refuse: () => {
      permits = false
    },
    permit: () => {
      permits = true
    },
    /** Lets so many milliseconds pass, of which the thread works a share, and looks after each of them. */
    pass: (ms: number, share: number) => {
      for (let i = 0; i < ms; i++) {
        now += 1
        used += share
        realTime = policy(now)
      }
      return realTime
    },
    /** One look after so many milliseconds of sleep. */
    sleep: (ms: number) => {
      now += ms
      return policy(now)
    }
  }
}

describe("the packet worker's scheduling policy", () => {
  it("is an ordinary thread until it has had little to do for 50 ms", () => {
    const thread = makeThread()

    assert.isFalse(thread.pass(49, 0.04))
    assert.isTrue(thread.pass(1, 0.04))
    assert.deepStrictEqual(thread.asked, ["real-time"])
  })

  it("becomes an ordinary thread within 50 ms of work, and a real-time one after as long a rest", () => {
    const thread = makeThread()
    thread.pass(50, 0)

    assert.isFalse(thread.pass(50, 1))
    assert.isFalse(thread.pass(49, 0))
    assert.isTrue(thread.pass(1, 0))
    assert.deepStrictEqual(thread.asked, ["real-time", "ordinary", "real-time"])
  })

  it("stays what it is between 5 and 8 % of a processor", () => {
    const thread = makeThread()

    assert.isFalse(thread.pass(1_000, 0.06))
    assert.isTrue(thread.pass(50, 0.04))
    assert.isTrue(thread.pass(1_000, 0.07))
    assert.isFalse(thread.pass(50, 0.09))
    assert.isFalse(thread.pass(1_000, 0.06))
    assert.deepStrictEqual(thread.asked, ["real-time", "ordinary"])
  })

  it("is a real-time thread at the first packet after a sleep", () => {
    const thread = makeThread()
    thread.pass(200, 1)

    assert.isTrue(thread.sleep(500))
  })

  it("does not ask again a system that refuses real time", () => {
    const thread = makeThread()
    thread.refuse()

    assert.isFalse(thread.pass(1_000, 0))
    assert.deepStrictEqual(thread.asked, ["real-time"])
  })

  it("asks again and again to be an ordinary thread when it is busy and was refused", () => {
    const thread = makeThread()
    thread.pass(50, 0)
    thread.refuse()

    assert.isTrue(thread.pass(100, 1))
    thread.permit()
    assert.isFalse(thread.pass(50, 1))
    assert.deepStrictEqual(thread.asked, ["real-time", "ordinary", "ordinary", "ordinary"])
  })
})

describe("this thread", () => {
  it("has used the processor time that it has worked, not the time that has passed", () => {
    const { used } = thisThread(makeMemory(1))
    const before = used()
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 100)
    const from = performance.now()
    const slept = used()
    while (performance.now() - from < 100) {
      // Work.
    }
    const worked = used()
    const passed = performance.now() - from

    assert.isBelow(slept - before, 50)
    assert.isAtLeast(worked - slept, 1)
    assert.isAtMost(worked - slept, passed)
  })

  it("may always be an ordinary one", () => {
    assert.isTrue(thisThread(makeMemory(1)).setRealTime(false))
  })
})
