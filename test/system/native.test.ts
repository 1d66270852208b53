import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { fileURLToPath } from "node:url"
import { afterAll, beforeAll } from "vitest"

const namespace = `spnative${process.pid}`
const script = fileURLToPath(new URL("scripts/nativeTun.ts", import.meta.url))

const run = (command: string, ...args: ReadonlyArray<string>): string =>
  execFileSync(command, args, { encoding: "utf8", timeout: 30_000, stdio: ["ignore", "pipe", "pipe"] })

/** The scenario's result inside the namespace, optionally through a wrapper command. */
const scenario = (name: string, ...wrapper: ReadonlyArray<string>) =>
  JSON.parse(run("ip", "netns", "exec", namespace, ...wrapper, process.execPath, script, name))

beforeAll(() => void run("ip", "netns", "add", namespace))
afterAll(() => void run("ip", "netns", "delete", namespace))

describe("a TUN device", () => {
  it("carries packets both ways, is named by the kernel, and vanishes when closed", () => {
    assert.deepStrictEqual(scenario("echo"), { name: "specho0", emptyAfterAll: 0, lost: "0", gone: true })
  })

  it("that is taken, or whose name another interface has, is refused with cause and fix", () => {
    const [again, bridge] = scenario("taken")

    assert.strictEqual(again.errno, "EBUSY")
    assert.match(again.message, /spsame0 is in use by another process/)
    assert.strictEqual(bridge.errno, "EINVAL")
    assert.match(bridge.message, /spbridge0 .* choose another device name/)
  })

  it("that is down or deleted costs packets, never a throw or a busy loop", () => {
    const result = scenario("broken")

    assert.isFalse(result.down)
    assert.isFalse(result.junk)
    assert.strictEqual(result.drops.tunWriteRefused, 2)
    assert.isNull(result.before)
    assert.isFalse(result.ready)
    assert.match(result.fault, /the TUN device is gone/)
    assert.isFalse(result.idle)
  })

  it("says which capability is missing", () => {
    const error = scenario("open", "setpriv", "--bounding-set=-net_admin", "--inh-caps=-net_admin")

    assert.strictEqual(error.errno, "EPERM")
    assert.match(error.message, /spopen0 \(EPERM\): .*CAP_NET_ADMIN/)
  })

  it("says how to get /dev/net/tun where it is missing", () => {
    const error = scenario("open", "unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /dev/net && exec "$@"', "sh")

    assert.strictEqual(error.errno, "ENOENT")
    assert.match(error.message, /modprobe tun/)
  })
})
