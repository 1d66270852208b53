import type { Random } from "./Random.ts"

/** A part of the gateway that reads bytes of strangers. What throws, takes too long or grows is a finding. */
export interface Target {
  /** Good inputs, which the others are made of. */
  readonly seeds: ReadonlyArray<Uint8Array>
  /** Words of the language that chance would hardly write. */
  readonly dictionary: ReadonlyArray<Uint8Array>
  /** In bytes. */
  readonly maxLength: number
  /** Inputs that one world lives through; 1: each stands for itself. */
  readonly lifetime: number
  /** Milliseconds of CPU that one input may take. */
  readonly bound: number
  /** A fresh world. `random` is for what the input leaves open, so that a story can be told again. */
  readonly start: (random: Random) => (input: Uint8Array) => void
}

/** What a target's oracle says. */
export const invariant: (holds: boolean, what: string) => asserts holds = (holds, what) => {
  if (!holds) throw new Error(`INVARIANT ${what}`)
}

export const utf8 = (...texts: ReadonlyArray<string>): ReadonlyArray<Uint8Array> =>
  texts.map((text) => new TextEncoder().encode(text))
