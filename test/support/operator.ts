/** What an operator gets to read from a command. */
import { assert } from "@effect/vitest"
import type { CommandResult } from "../../src/demo/Lab.ts"

/** The one line of a command that failed. Log lines may precede it; a stack trace or a second line may not. */
export const onlyLine = ({ code, stderr, stdout }: CommandResult): string => {
  const lines = stderr.split("\n").filter((line) => line !== "" && !isLog(line))
  assert.strictEqual(code, 1, stderr)
  assert.strictEqual(stdout, "")
  assert.strictEqual(lines.length, 1, stderr)
  assert.notMatch(stderr, /^\s+at |node:internal|Error:/m)
  return lines[0] ?? ""
}

const isLog = (line: string): boolean => /^timestamp=\S+ level=/.test(line)
