import { existsSync, readFileSync } from "node:fs"
import { assert, describe, it } from "@effect/vitest"
import { addressOf } from "../../../../layers/dataplane/native/ffi.ts"
import { reserveTable } from "../../../../layers/dataplane/native/memory.ts"
import { Sessions } from "../../../../src/nat/sessions.ts"
import { words } from "../../../../src/packet/address.ts"

const startOf = (table: Int32Array): number => addressOf(table.buffer) + table.byteOffset

/** The flags of the mapping that the address lies in: `hg` where large pages were asked for (proc_pid_smaps(5)). */
const flagsAt = (address: number): Array<string> => {
  const mappings = readFileSync("/proc/self/smaps", "utf8").split(/\n(?=[0-9a-f]+-[0-9a-f]+ )/)
  const found = mappings.find((mapping) => {
    const [from, to] = mapping
      .split(" ", 1)[0]!
      .split("-")
      .map((text) => Number.parseInt(text, 16))
    return address >= from! && address < to!
  })
  return (
    /^VmFlags: (.*)$/m
      .exec(found ?? "")?.[1]
      ?.trim()
      .split(" ") ?? []
  )
}

describe("reserveTable", () => {
  it("gives zeroed integers that begin with a page, small or large", () => {
    for (const length of [1, 1_000, 1_024, 524_288, 1_000_001]) {
      const table = reserveTable(length)

      assert.strictEqual(table.length, length)
      assert.strictEqual(startOf(table) % 4_096, 0)
      assert.isTrue(table.every((value) => value === 0))
      table.fill(-1)
    }
  })

  it("asks for large pages for a large table only, where the kernel knows them", () => {
    const known = existsSync("/sys/kernel/mm/transparent_hugepage") ? ["hg"] : []
    const large = reserveTable(1_048_576)
    const small = reserveTable(1_024)

    assert.includeMembers(flagsAt(startOf(large)), known)
    assert.includeMembers(flagsAt(startOf(large) + large.byteLength - 1), known)
    assert.strictEqual(startOf(large) % 2_097_152, 0)
    assert.notInclude(flagsAt(startOf(small)), "hg")
  })

  it("holds a session table whose numbers do not begin at byte 0 of their buffers", () => {
    const [clients, ports] = [2, 50_000]
    const sessions = new Sessions({ capacity: 131_072, perClient: ports, reserve: reserveTable })
    const destination = words(0, 0, 0xffff, 0x64600001)
    const real = words(0, 0, 0xffff, 0x0a000001)
    const timeOf = (client: number, port: number): number => client * 1_000_000 + port + 0.5
    for (let client = 0; client < clients; client++) {
      for (let port = 1; port <= ports; port++) {
        sessions.insert(client, 17, port, destination, 443, real, -1, 1, timeOf(client, port))
      }
    }

    for (let client = 0; client < clients; client++) {
      for (let port = 1; port <= ports; port++) {
        const slot = sessions.findOutbound(client, 17, port, destination, 443)
        if (
          slot < 0 ||
          sessions.findInbound(client, 17, port, real, 443) !== slot ||
          sessions.insidePort(slot) !== port ||
          sessions.firstOutAt(slot) !== timeOf(client, port)
        ) {
          assert.fail(`the session from port ${port} of client ${client} is not what it was`)
        }
      }
    }
    assert.strictEqual(sessions.size, clients * ports)
    assert.strictEqual(sessions.findOutbound(3, 17, 1, destination, 444), -1)
  })
})
