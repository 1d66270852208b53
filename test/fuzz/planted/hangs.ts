import type { Target } from "../Target.ts"

export const target: Target = {
  seeds: [Uint8Array.of(1, 7)],
  dictionary: [],
  maxLength: 16,
  lifetime: 1,
  bound: 50,
  start: () => (input) => {
    // A length of zero never comes to an end.
    for (let at = 0; at < input.length;) at += input[at]!
  }
}
