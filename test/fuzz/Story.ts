import { createHash } from "node:crypto"

/** All that one world went through. */
export interface Story {
  /** Of the world's own choices. */
  readonly seed: number
  readonly inputs: ReadonlyArray<Uint8Array>
}

/** A story that ends badly. */
export interface Finding extends Story {
  readonly target: string
  readonly reason: string
}

/** JSON with the inputs in base64. */
export const encodeFinding = ({ inputs, reason, seed, target }: Finding): string =>
  `${JSON.stringify({ target, reason: reason.split("\n", 1)[0], seed, inputs: inputs.map((input) => Buffer.from(input).toString("base64")) }, null, 2)}\n`

export const decodeFinding = (text: string): Finding => {
  const { inputs, ...rest } = JSON.parse(text) as Omit<Finding, "inputs"> & { readonly inputs: ReadonlyArray<string> }
  return { ...rest, inputs: inputs.map((input) => Uint8Array.from(Buffer.from(input, "base64"))) }
}

export const fileOf = (finding: Finding): string => {
  const digest = createHash("sha256").update(`${finding.seed}`)
  for (const input of finding.inputs) digest.update(input)
  return `${finding.target}-${digest.digest("hex").slice(0, 12)}.json`
}
