/** A parser that trusts a length: for the tests of the harness. */
import type { Target } from "../Target.ts"

const noted: Array<number> = []

export const target: Target = {
  seeds: [Uint8Array.of(1, 7), new Uint8Array(40)],
  dictionary: [],
  maxLength: 64,
  lifetime: 20,
  bound: 50,
  start: () => {
    noted.length = 0
    return (input) => {
      noted.push(input[0] ?? 0)
      if (noted.includes(0xff) && input[0] === 0x7f) throw new RangeError("read beyond the end")
    }
  }
}
