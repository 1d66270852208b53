import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("scripts/stateStoreFull.ts", import.meta.url))

describe("StateStore on a full disk", () => {
  it("fails in one line, keeps and serves what was stored, and goes on when there is space again", () => {
    // A mount of its own, seen by this one process only.
    const output = execFileSync(
      "unshare",
      [
        "--mount",
        "sh",
        "-ec",
        'mount -t tmpfs -o size=512k none /mnt && exec "$@"',
        "sh",
        process.execPath,
        script,
        "/mnt"
      ],
      { encoding: "utf8", timeout: 30_000, stdio: ["ignore", "pipe", "pipe"] }
    )

    // The log comes before it: a new key is told.
    const result = JSON.parse(output.trimEnd().split("\n").at(-1)!)
    assert.match(result.message, /^cannot write the state in \/mnt\/state\.db: the disk is full; free some space/)
    assert.strictEqual(result.kept, result.stored)
    assert.isTrue(result.keyKept)
    assert.strictEqual(result.afterwards, result.stored + 1)
  })
})
