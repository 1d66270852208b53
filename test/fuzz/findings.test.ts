/** What campaigns have found stays fixed, and their corpora are good seeds. */
import { assert, describe, it } from "@effect/vitest"
import { moduleOf, readCorpus, readFindings, targetNames } from "./places.ts"
import { replay } from "./replay.ts"
import type { Target } from "./Target.ts"

const load = async (name: string): Promise<Target> =>
  ((await import(moduleOf(name))) as { readonly target: Target }).target

describe("findings of the fuzz campaigns", () => {
  for (const [file, finding] of readFindings()) {
    it(`stay fixed: ${file}`, async () => {
      assert.strictEqual(replay(await load(finding.target), finding), undefined)
    })
  }
})

describe("each target of the fuzz campaigns", () => {
  for (const name of targetNames) {
    it(`takes its seeds and its corpus: ${name}`, async () => {
      const target = await load(name)
      for (const input of [...target.seeds, ...readCorpus(name)]) {
        assert.isAtMost(input.length, target.maxLength)
        assert.strictEqual(replay(target, { seed: 1, inputs: [input] }), undefined)
      }
    })
  }
})
