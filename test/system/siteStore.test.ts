import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"

const script = fileURLToPath(new URL("scripts/siteStoreFull.ts", import.meta.url))

describe("a site's PostgreSQL on a full disk", () => {
  it("is read all the same, says what is missing, and takes what it has not taken when there is space again", () => {
    // A mount of its own, seen by this one process and PostgreSQL only.
    const output = execFileSync(
      "unshare",
      [
        "--mount",
        "sh",
        "-ec",
        'mount -t tmpfs -o size=16m none /mnt && exec "$@"',
        "sh",
        process.execPath,
        script,
        "/mnt"
      ],
      { encoding: "utf8", timeout: 60_000, stdio: ["ignore", "pipe", "pipe"] }
    )

    const result = JSON.parse(output.trimEnd().split("\n").at(-1)!)
    assert.strictEqual(result.reason, "Failed")
    assert.match(result.message, /No space left on device .*\(53100\) — free some space on its disk$/)
    assert.deepStrictEqual(result.meanwhile, result.known)
    assert.strictEqual(result.afterwards, 1_001)
  }, 90_000)
})
