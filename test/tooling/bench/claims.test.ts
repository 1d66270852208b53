import { assert, describe, it } from "@effect/vitest"
import { Result } from "effect"
import { claims } from "../../bench/support/claims.ts"
import type { Figure, RunRecord } from "../../bench/support/record.ts"

const figure = (value: number, changes: Partial<Figure> = {}): Figure => ({
  name: "TCP",
  unit: "MiB/s",
  value,
  bad: "low",
  ...changes
})

const run = (value: number, changes: Partial<RunRecord> = {}): RunRecord => ({
  title: "3 rounds of 2 s",
  command: "npm run bench -- --quick",
  day: "2026-11-29",
  commit: "0123456789ab",
  peer: "wireguard-go v1 built with go1.26.8",
  node: "v26.10.0",
  machine: "2 × processor",
  figures: [figure(value), figure(value / 100, { name: "ping", unit: "ms", bad: "high" })],
  ...changes
})
const five = [612, 601.9, 640, 633, 620].map((value) => run(value))

const table = (runs: ReadonlyArray<RunRecord>): string => Result.getOrThrow(claims(runs))
const refusal = (runs: ReadonlyArray<RunRecord>): string => {
  const line = Result.getOrThrow(Result.flip(claims(runs)))
  assert.notInclude(line, "\n")
  return line
}

describe("claims", () => {
  it("are the worst run of each figure: the lowest throughput, the highest latency", () => {
    const text = table(five)

    assert.include(text, "| TCP | MiB/s | 601 | 620 | 5 |")
    assert.include(text, "| ping | ms | 6.4 | 6.2 | 5 |")
  })

  it("are rounded against us", () => {
    const values = [1.4789, 1.4789, 1.4789, 1.4789, 1.4789]
    const of = (bad: "low" | "high") => table(values.map((value) => run(0, { figures: [figure(value, { bad })] })))

    assert.include(of("low"), "| 1.47 | 1.47 |")
    assert.include(of("high"), "| 1.48 | 1.48 |")
  })

  it("keep a value of three digits or fewer as it is", () => {
    for (const value of [0, 1.1, 0.29, 2.3, 115, 8_000, -1.1]) {
      for (const bad of ["low", "high"] as const) {
        const text = table(five.map((one) => ({ ...one, figures: [figure(value, { bad })] })))

        assert.include(text, `| ${value} | ${value} | 5 |`)
      }
    }
  })

  it("say when, of what commit, with which peer, under which Node and by which command", () => {
    assert.include(
      table(five),
      `2026-11-29, commit 0123456789ab, Node 26.10.0, wireguard-go v1 built with go1.26.8, 2 × processor.

3 rounds of 2 s, \`npm run bench -- --quick\`, worst of 5 runs:`
    )
  })

  it("keep benches apart, of which some have no peer", () => {
    const accept = five.map((one) => ({ ...one, title: "accept", peer: null }))

    assert.strictEqual(table([...five, ...accept]).match(/worst of 5 runs/g)?.length, 2)
  })

  it("are refused with fewer than five runs of anything", () => {
    assert.include(refusal([]), "no runs")
    assert.include(refusal(five.slice(1)), "4 of at least 5 runs")
    assert.include(refusal([...five, run(1, { title: "accept" })]), "1 of at least 5 runs of accept")
  })

  it("are refused of runs that do not belong together", () => {
    for (const what of ["commit", "peer", "node", "machine"] as const) {
      assert.include(refusal([...five, run(1, { [what]: "another" })]), `(${what})`)
    }
  })

  it("are refused of a program that was never committed", () => {
    assert.include(
      refusal(five.map((one) => ({ ...one, commit: `${one.commit} with changes` }))),
      "commit, then measure"
    )
  })
})
