import { assert, describe, it } from "@effect/vitest"
import { execFileSync } from "node:child_process"
import { release } from "node:os"
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

  /** UDP super-packets (USO) came with Linux 6.2. */
  const [major = 0, minor = 0] = release().split(".").map(Number)
  const uso = major > 6 || (major === 6 && minor >= 2)

  it("with virtio header takes and gives super-packets: 20 MB of TCP per family arrive whole", () => {
    const result = scenario("superPackets")

    assert.deepStrictEqual(result.offloads, { tcp: true, udp: uso })
    assert.deepStrictEqual(result.four, { bytes: 20_000_000, same: true })
    assert.deepStrictEqual(result.six, { bytes: 20_000_000, same: true })
    assert.includeMembers(result.kinds, [1, 4])
    assert.isAbove(result.segments / result.superIn, 5)
    assert.isAbove(result.superOut, 100)
    assert.strictEqual(result.failed, 0)
    assert.strictEqual(result.drops.tunReadOther, 0)
  })

  it("without it takes and gives packets only, and the same arrives", () => {
    const result = scenario("plainPackets")

    assert.deepStrictEqual(result.offloads, { tcp: false, udp: false })
    assert.deepStrictEqual(result.four, { bytes: 20_000_000, same: true })
    assert.deepStrictEqual(result.six, { bytes: 20_000_000, same: true })
    assert.deepStrictEqual([result.superIn, result.superOut, result.failed], [0, 0, 0])
  })

  it("passes a batch of datagrams on whole where the kernel has UDP super-packets", () => {
    const result = scenario("datagrams")

    assert.deepStrictEqual(
      [result.sent, result.received, result.same, result.sizes],
      [true, 40 * 1_200 - 5, true, [1_200]]
    )
    assert.deepStrictEqual([result.kinds, result.segments, result.superOut], uso ? [[5], 40, 1] : [[], 0, 0])
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
    assert.isNull(result.fault)
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

it("a batch of datagrams that are too long for the device is delivered one by one, in fragments", () => {
  const result = scenario("longDatagrams")

  assert.deepStrictEqual(result.sent, [true, true])
  assert.deepStrictEqual(result.sizes, [1_452, 1_452, 1_452, 644, 1_452, 1_452, 1_452, 644])
  assert.strictEqual(result.drops.sendUnsegmented, 1)
})
